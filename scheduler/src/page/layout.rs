//! What all pages have: the head, where one can go, whose page it is.

use super::assets::VERSION;
use super::html::Html;
use crate::service::QueryService;

/// A page's place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Cluster,
    Queries,
    Streams,
}

/// How the page looks, where somebody has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    /// From the header `Cookie`.
    pub fn of_cookies(cookies: &str) -> Self {
        let chosen = cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix("polarway-theme="));
        match chosen {
            Some("dark") => Theme::Dark,
            Some("light") => Theme::Light,
            _ => Theme::System,
        }
    }
}

/// The whole of a page around its main part.
pub struct Page<'a> {
    pub title: &'a str,
    pub place: Place,
    pub theme: Theme,
    /// The name of this scheduler.
    pub scheduler: &'a str,
    pub main: &'a Html,
}

impl<'a> Page<'a> {
    pub fn new(
        service: &'a QueryService,
        place: Place,
        title: &'a str,
        theme: Theme,
        main: &'a Html,
    ) -> Self {
        Self { title, place, theme, scheduler: &service.us.name, main }
    }

    pub fn render(&self) -> Html {
        let mut html = Html::default();
        html.raw("<!doctype html>\n<html lang=\"en\"");
        match self.theme {
            Theme::System => {}
            Theme::Light => {
                html.raw(" data-theme=\"light\"");
            }
            Theme::Dark => {
                html.raw(" data-theme=\"dark\"");
            }
        }
        html.raw("><head><meta charset=\"utf-8\"><title>").text(self.title).raw(" – Polarway</title>");
        html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        html.raw("<meta name=\"color-scheme\" content=\"light dark\">");
        html.raw("<link rel=\"stylesheet\" href=\"/assets/page.css?v=").text(VERSION.as_str()).raw("\">");
        html.raw("<link rel=\"icon\" type=\"image/svg+xml\" href=\"/assets/icon.svg?v=")
            .text(VERSION.as_str());
        html.raw("\"><script defer src=\"/assets/page.js?v=")
            .text(VERSION.as_str())
            .raw("\"></script></head>");
        html.raw("<body><a class=\"skip\" href=\"#main\">Skip to content</a>");
        self.header(&mut html);
        html.raw("<main id=\"main\" tabindex=\"-1\">").html(self.main).raw("</main>");
        html.raw("<footer><p>Scheduler <strong>").text(self.scheduler).raw("</strong>, version ");
        html.text(env!("CARGO_PKG_VERSION")).raw(". Times are UTC.</p></footer>");
        html.raw("<p id=\"say\" class=\"quiet\" role=\"status\" aria-live=\"polite\"></p>");
        html.raw(HELP).raw("</body></html>\n");
        html
    }

    fn header(&self, html: &mut Html) {
        html.raw(
            "<header class=\"top\"><a class=\"brand\" href=\"/\">Polarway</a><nav aria-label=\"Pages\"><ul>",
        );
        for (place, address, name) in [
            (Place::Cluster, "<a href=\"/\"", "Cluster"),
            (Place::Queries, "<a href=\"/queries\"", "Queries"),
            (Place::Streams, "<a href=\"/streams\"", "Streams"),
        ] {
            html.raw("<li>").raw(address);
            if place == self.place {
                html.raw(" aria-current=\"page\"");
            }
            html.raw(">").raw(name).raw("</a></li>");
        }
        // Without the script they would do nothing: it shows them.
        html.raw(
            "</ul></nav><div class=\"tools\" hidden>\
             <button type=\"button\" id=\"pause\" aria-pressed=\"false\" title=\"Stop renewing the page (p)\">Live</button>\
             <button type=\"button\" id=\"theme\" title=\"System, light or dark colours (t)\">Theme: system</button>\
             <button type=\"button\" id=\"help\" aria-haspopup=\"dialog\" title=\"Keys (?)\" aria-label=\"Keyboard shortcuts\">?</button>\
             </div></header>",
        );
    }
}

const HELP: &str = "<dialog id=\"keys\" aria-labelledby=\"keys-title\"><h2 id=\"keys-title\">Keyboard shortcuts</h2>\
    <table><caption class=\"quiet\">Keys and what they do</caption>\
    <thead><tr><th scope=\"col\">Key</th><th scope=\"col\">Does</th></tr></thead><tbody>\
    <tr><td><kbd>g</kbd> <kbd>c</kbd></td><td>Cluster</td></tr>\
    <tr><td><kbd>g</kbd> <kbd>q</kbd></td><td>Queries</td></tr>\
    <tr><td><kbd>g</kbd> <kbd>s</kbd></td><td>Streams</td></tr>\
    <tr><td><kbd>j</kbd> <kbd>k</kbd></td><td>Next and previous query; <kbd>Enter</kbd> opens it</td></tr>\
    <tr><td><kbd>/</kbd></td><td>Search the queries</td></tr>\
    <tr><td><kbd>p</kbd></td><td>Stop renewing the page, or go on</td></tr>\
    <tr><td><kbd>t</kbd></td><td>Colours: of the system, light, dark</td></tr>\
    <tr><td><kbd>?</kbd></td><td>This list; <kbd>Esc</kbd> closes it</td></tr></tbody></table>\
    <p><label><input type=\"checkbox\" id=\"keys-on\" checked> Single keys do something</label></p>\
    <form method=\"dialog\"><button>Close</button></form></dialog>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_49_a_chosen_theme_is_in_the_first_answer() {
        assert_eq!(Theme::of_cookies("a=b; polarway-theme=dark"), Theme::Dark);
        assert_eq!(Theme::of_cookies("polarway-theme=light"), Theme::Light);
        assert_eq!(Theme::of_cookies("polarway-theme=\"><script>"), Theme::System);
        let main = Html::default();
        let page =
            Page { title: "<t>", place: Place::Queries, theme: Theme::Dark, scheduler: "s&1", main: &main };
        let html = page.render().into_string();
        assert!(html.contains("<html lang=\"en\" data-theme=\"dark\">"));
        assert!(
            html.contains("<title>&lt;t&gt; – Polarway</title>") && html.contains("<strong>s&amp;1</strong>")
        );
        assert_eq!(html.matches("aria-current").count(), 1);
    }
}
