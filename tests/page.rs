//! The web page in a real browser: `tests/page/page.test.mjs` drives Chromium against a site of ours.
//!
//! With `CALLAHEAD_SHOTS=DIR` it also saves pictures of the page there. Needs `node`, `npm` and `chromium`; `npm ci` is run once when `tests/page/node_modules` is missing.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod site;

use std::path::Path;
use std::process::Command;

use callahead::store::EndCause;
use site::Site;

#[test]
fn the_page_works_in_a_browser() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    if !folder.join("node_modules/playwright-core").exists() {
        let mut install = Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        assert!(install.status().expect("npm is installed").success(), "npm ci in tests/page");
    }
    let site = Site::start();
    site.recorded("A1", "Ada Lovelace");
    let busy = site.called("A2", "Charles Babbage", 1, Some((EndCause::Busy, "busy")));
    site.traced(busy);
    site.called("A3", "Mary Somerville", 2, Some((EndCause::Human, "home")));
    site.called("A4", "George Boole", 3, None);
    let mut browser = Command::new("node");
    browser.args(["--test", "page.test.mjs"]).current_dir(&folder);
    browser
        .env("CALLAHEAD_ADDRESS", format!("http://{}", site.address))
        .env("CALLAHEAD_PASSWORD", site::PASSWORD);
    browser.env("CALLAHEAD_KEY", &site.key);
    let output = browser.output().expect("node is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("# fail 0") || text.contains("fail 0"), "{text}");
}
