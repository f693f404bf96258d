use bowline_tokio::relay::Page;

/// The web page and what it loads.
pub(super) const PAGES: &[Page] = &[
    Page {
        path: "/",
        content_type: "text/html; charset=utf-8",
        body: include_bytes!("../../../../web/index.html"),
    },
    Page {
        path: "/style.css",
        content_type: "text/css; charset=utf-8",
        body: include_bytes!("../../../../web/style.css"),
    },
    Page {
        path: "/page.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("../../../../web/page.js"),
    },
    Page {
        path: "/bowline.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("../../../../web/bowline.js"),
    },
    Page {
        path: "/seal.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("../../../../web/seal.js"),
    },
    Page {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        body: include_bytes!("../../../../web/icon.svg"),
    },
];
