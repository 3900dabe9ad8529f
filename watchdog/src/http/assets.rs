//! The page for people: four files that need nothing from anywhere else.

use super::response::Response;

/// Scripts, looks and connections from here alone; no form, no frame, nothing written into the page itself.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asset {
    Html,
    Script,
    Looks,
    Icon,
}

impl Asset {
    /// The file of a path.
    pub(super) fn at(path: &str) -> Option<Asset> {
        match path {
            "/" => Some(Asset::Html),
            "/page.js" => Some(Asset::Script),
            "/page.css" => Some(Asset::Looks),
            "/page.svg" => Some(Asset::Icon),
            _ => None,
        }
    }

    pub(super) fn response(self) -> Response {
        let (content_type, text) = match self {
            Asset::Html => ("text/html; charset=utf-8", include_str!("assets/page.html")),
            Asset::Script => ("text/javascript; charset=utf-8", include_str!("assets/page.js")),
            Asset::Looks => ("text/css; charset=utf-8", include_str!("assets/page.css")),
            Asset::Icon => ("image/svg+xml", include_str!("assets/page.svg")),
        };
        Response { status: 200, content_type, body: text.as_bytes().into(), policy: PAGE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The page works where there is no other machine, and nothing stands in it that its own policy forbids.
    #[test]
    fn the_page_asks_nobody_else_and_has_nothing_inline() {
        for text in [include_str!("assets/page.html"), include_str!("assets/page.js"), include_str!("assets/page.css")]
        {
            let urls = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!urls.contains("://") && !text.contains("@import") && !text.contains("url("));
        }
        let html = include_str!("assets/page.html");
        assert!(!html.contains("style=") && !html.contains(" on") && html.matches("<script").count() == 1);
        let script = include_str!("assets/page.js");
        assert!(
            !script.contains("innerHTML") && !script.contains("eval("),
            "what services say is text and nothing else"
        );
        for path in ["/page.js", "/page.css", "/page.svg"] {
            assert!(Asset::at(path).is_some() && html.contains(&format!("\"{path}\"")), "{path}");
        }
    }
}
