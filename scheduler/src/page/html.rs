//! Markup that is written in the source, and text that comes from elsewhere, which never becomes markup.

use std::fmt::{self, Display, Write};

/// A piece of a page.
#[derive(Debug, Default, Clone)]
pub struct Html(String);

impl Html {
    /// Markup of the source: a text of another origin does not fit the type.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, in an element or in an attribute's double quotes.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing into a text does not fail.
        let _ = write!(Escaping(&mut self.0), "{text}");
        self
    }

    pub fn html(&mut self, part: &Html) -> &mut Self {
        self.0.push_str(&part.0);
        self
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// Escapes what is written.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Characters that HTML does not allow, written or not.
                control if control.is_control() && !matches!(control, '\n' | '\t') => {
                    self.0.push('\u{fffd}');
                }
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

/// A text as part of a path or of a query's value in an address.
pub fn in_address(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).map(|part| part.replace('+', "%20")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_49_text_does_not_become_markup() {
        let mut html = Html::default();
        html.raw("<p title=\"")
            .text("\" onclick='x'")
            .raw("\">")
            .text("<script>alert(1)</script>&\0")
            .raw("</p>");
        assert_eq!(
            html.into_string(),
            "<p title=\"&quot; onclick=&#39;x&#39;\">&lt;script&gt;alert(1)&lt;/script&gt;&amp;\u{fffd}</p>"
        );
        assert_eq!(in_address("a b/../?&#\"<"), "a%20b%2F..%2F%3F%26%23%22%3C");
    }
}
