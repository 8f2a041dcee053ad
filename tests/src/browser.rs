//! A real browser: Chromium without a window and without a network, driven by its protocol for developers over a pair of pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Messages come and go by file descriptors 3 and 4. Whatever hangs ends after five minutes.
const START: &str = "exec timeout 300 unshare --net chromium --headless --hide-scrollbars --no-sandbox --disable-gpu --no-first-run \
    --disable-background-networking --disable-component-update --force-color-profile=srgb \
    --user-data-dir=\"$0\" --remote-debugging-pipe about:blank 3<&0 4>&1 0</dev/null 1>&2";

/// A page in a browser of its own.
pub struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    events: Vec<Value>,
}

/// What a window shows, pixel by pixel.
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Red, green, blue.
    pub pixels: Vec<[u8; 3]>,
    /// As a PNG.
    pub file: Vec<u8>,
}

impl Browser {
    /// Starts one that keeps its files in `folder`.
    pub fn start(folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", START]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("sh");
        let (to, from) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        let mut browser = Self { process, to, from: BufReader::new(from), session: None, last: 0, events: Vec::new() };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].take();
        let attached = browser.call("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Opens a page in a window of this size, in pixels of the page.
    pub fn open(&mut self, url: &str, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        self.events.clear();
        self.call("Page.navigate", &json!({ "url": url }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.receive();
            self.events.push(event);
        }
    }

    /// Messages on the console, exceptions, and requests for anything but the page: none, on a page that is well.
    pub fn complaints(&self, url: &str) -> Vec<String> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some(
                "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" | "Network.loadingFailed",
            ) => true,
            Some("Network.requestWillBeSent") => event["params"]["request"]["url"] != url,
            _ => false,
        };
        self.events.iter().filter(is_complaint).map(Value::to_string).collect()
    }

    /// The value of a JavaScript expression.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let mut answer = self.call("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }));
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].take()
    }

    /// The whole page, also what lies below the window.
    pub fn picture(&mut self) -> Picture {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true }));
        let file = BASE64_STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64");
        let mut decoder = png::Decoder::new(std::io::Cursor::new(&file));
        decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
        let mut reader = decoder.read_info().expect("a PNG");
        let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut bytes).expect("a PNG");
        assert_eq!(info.color_type, png::ColorType::Rgba);
        let pixels = bytes.chunks_exact(4).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        Picture { width: info.width as usize, pixels, file }
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser hears");
        loop {
            let mut message = self.receive();
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    fn receive(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).expect("the browser speaks");
        assert_eq!(message.pop(), Some(0), "the browser has ended; `scripts/setup.sh browser` installs what it needs");
        serde_json::from_slice(&message).expect("JSON")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // `timeout` hands it on.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.process.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.process.wait();
    }
}
