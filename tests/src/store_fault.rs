//! A directory that cannot be used for a while.

use std::path::{Path, PathBuf};

/// Where a directory was, there is a file, so that nothing can be written or read below it, not even by root. Ends with
/// [`mend`](Self::mend), or when dropped.
pub struct StoreFault {
    directory: PathBuf,
    aside: PathBuf,
    mended: bool,
}

impl StoreFault {
    pub fn of(directory: &Path) -> Self {
        let aside = directory.with_extension("aside");
        std::fs::rename(directory, &aside).unwrap();
        std::fs::write(directory, "").unwrap();
        Self { directory: directory.to_owned(), aside, mended: false }
    }

    pub fn mend(mut self) {
        self.put_back();
    }

    fn put_back(&mut self) {
        if !std::mem::replace(&mut self.mended, true) {
            std::fs::remove_file(&self.directory).unwrap();
            std::fs::rename(&self.aside, &self.directory).unwrap();
        }
    }
}

impl Drop for StoreFault {
    fn drop(&mut self) {
        self.put_back();
    }
}
