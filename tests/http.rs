//! The HTTP API from outside: a real server on loopback, a real store, a plain client.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod site;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use site::{PASSWORD, Site};
use ureq::Agent;
use ureq::http::{Request, Response};

type Reply = Response<Vec<u8>>;

fn send(site: &Site, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Reply {
    let config =
        Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20)));
    let agent: Agent = config.allow_non_standard_methods(true).build().into();
    let mut request = Request::builder().method(method).uri(format!("http://{}{path}", site.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = match body {
        Some(text) => {
            agent.run(request.header("content-type", "application/json").body(text.to_owned()).unwrap())
        }
        None => agent.run(request.body(()).unwrap()),
    };
    let (parts, mut body) = response.unwrap().into_parts();
    Response::from_parts(parts, body.read_to_vec().unwrap())
}

fn as_json(reply: &Reply) -> Value {
    serde_json::from_slice(reply.body())
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(reply.body())))
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn key(site: &Site) -> String {
    format!("Bearer {}", site.key)
}

fn api(site: &Site, method: &str, path: &str, body: Option<Value>) -> Reply {
    let text = body.map(|body| body.to_string());
    send(site, method, &format!("/api/v1{path}"), &[("authorization", &key(site))], text.as_deref())
}

fn sign_in(site: &Site, name: &str) -> String {
    let body = json!({ "username": name, "password": PASSWORD }).to_string();
    let reply = send(site, "POST", "/api/v1/session", &[], Some(&body));
    assert_eq!(reply.status(), 201);
    let cookie = header(&reply, "set-cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn as_person(site: &Site, cookie: &str, method: &str, path: &str, body: Option<&str>) -> Reply {
    let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin")];
    send(site, method, &format!("/api/v1{path}"), &headers, body)
}

fn delivery(order_ref: &str) -> Value {
    json!({ "order_ref": order_ref, "customer_name": "Ada Lovelace", "phone": "+44 20 7183 8750",
            "eta": "2030-03-02T11:00:00+01:00", "agent": "grace" })
}

#[test]
fn people_sign_in_and_out() {
    let site = Site::start();
    assert_eq!(send(&site, "GET", "/api/v1/session", &[], None).status(), 401);
    let cookie = sign_in(&site, "Grace");
    let me = as_json(&as_person(&site, &cookie, "GET", "/session", None));
    assert_eq!((&me["username"], &me["role"]), (&json!("grace"), &json!("agent")));
    assert_eq!(as_person(&site, &cookie, "DELETE", "/session", None).status(), 204);
    assert_eq!(as_person(&site, &cookie, "GET", "/session", None).status(), 401);
}

#[test]
fn wrong_names_and_passwords_look_alike_and_are_throttled() {
    let site = Site::start();
    let attempt = |name: &str| {
        send(
            &site,
            "POST",
            "/api/v1/session",
            &[],
            Some(&json!({ "username": name, "password": "x" }).to_string()),
        )
    };
    let (known, unknown) = (attempt("grace"), attempt("nobody"));
    assert_eq!((known.status(), known.body()), (unknown.status(), unknown.body()));
    assert_eq!(as_json(&known)["code"], "wrong_credentials");
    let mut last = known;
    for _ in 0..10 {
        last = attempt("grace");
    }
    assert_eq!((last.status().as_u16(), &as_json(&last)["code"]), (429, &json!("throttled")));
    assert!(header(&last, "retry-after").parse::<u64>().unwrap() > 0);
    sign_in(&site, "alan"); // another name from the same place still can
}

#[test]
fn another_sites_page_changes_nothing() {
    let site = Site::start();
    let cookie = sign_in(&site, "dora");
    let body = delivery("A1").to_string();
    let host = site.address.to_string();
    let own = format!("http://{host}");
    let post = |extra: (&str, &str)| {
        send(&site, "POST", "/api/v1/deliveries", &[("cookie", cookie.as_str()), extra], Some(&body))
            .status()
            .as_u16()
    };
    assert_eq!(post(("sec-fetch-site", "cross-site")), 403);
    assert_eq!(post(("sec-fetch-site", "same-site")), 403);
    assert_eq!(post(("origin", "https://evil.example")), 403);
    assert_eq!(post(("origin", "null")), 403);
    assert_eq!(post(("origin", &own)), 201);
    assert_eq!(post(("sec-fetch-site", "same-origin")), 200);
}

#[test]
fn deliveries_are_idempotent_by_order() {
    let site = Site::start();
    let first = api(&site, "POST", "/deliveries", Some(delivery("A1")));
    assert_eq!(first.status(), 201);
    let made = as_json(&first);
    assert_eq!(made["phone"], "+442071838750");
    assert_eq!(made["eta"], "2030-03-02T10:00:00Z");
    assert_eq!(made["call"]["due_at"], "2030-03-02T09:30:00Z");
    assert_eq!(header(&first, "location"), format!("/api/v1/deliveries/{}", made["id"].as_str().unwrap()));
    let again = api(&site, "POST", "/deliveries", Some(delivery("A1")));
    assert_eq!((again.status().as_u16(), &as_json(&again)["id"]), (200, &made["id"]));

    let path = format!("/deliveries/{}", made["id"].as_str().unwrap());
    let moved = as_json(&api(&site, "PATCH", &path, Some(json!({ "eta": "2030-03-02T12:00:00Z" }))));
    assert_eq!(moved["call"]["due_at"], "2030-03-02T11:30:00Z");
    assert_eq!(moved["call"]["id"], made["call"]["id"]);
    assert!(site.engine.wakes.load(Ordering::SeqCst) >= 3);
}

#[test]
fn bad_input_is_named() {
    let site = Site::start();
    let text =
        |body: &str| send(&site, "POST", "/api/v1/deliveries", &[("authorization", &key(&site))], Some(body));
    let table = [
        ("{", 400, "invalid_json", ""),
        ("[]", 422, "invalid_field", ""),
        (r#"{"eta": "tomorrow"}"#, 422, "invalid_field", "eta"),
        (r#"{"eta": "2030-03-02T11:00:00"}"#, 422, "invalid_field", "eta"),
        (r#"{"order_ref": 5}"#, 422, "invalid_field", "order_ref"),
        (r#"{"colour": "red"}"#, 422, "invalid_field", "colour"),
    ];
    for (body, status, code, field) in table {
        let reply = text(body);
        let problem = as_json(&reply);
        assert_eq!((reply.status().as_u16(), &problem["code"]), (status, &json!(code)), "{body}: {problem}");
        assert_eq!(header(&reply, "content-type"), "application/problem+json");
        assert!(problem.to_string().contains(field), "{body}: {problem}");
    }
    let problem = as_json(&api(&site, "POST", "/deliveries", Some(json!({ "phone": "12", "plan": "nope" }))));
    let fields: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["order_ref", "customer_name", "phone", "eta", "plan"]);
    assert_eq!(send(&site, "GET", "/api/v1/nothing", &[], None).status(), 404);
    assert_eq!(as_json(&send(&site, "PUT", "/api/v1/calls", &[], None))["code"], "no_such_method");
    let huge = text(&format!(r#"{{"order_ref": "{}"}}"#, "x".repeat(70_000)));
    assert_eq!(huge.status(), 413);
}

#[test]
fn bulk_is_all_or_nothing() {
    let site = Site::start();
    let mut many: Vec<Value> = (0..1000).map(|n| delivery(&format!("B{n}"))).collect();
    many[7]["phone"] = json!("x");
    let refused = as_json(&api(&site, "POST", "/deliveries/bulk", Some(json!(many))));
    assert_eq!(refused["errors"][0]["field"], "[7].phone");
    assert_eq!(as_json(&api(&site, "GET", "/deliveries", None))["items"], json!([]));
    many[7] = delivery("B7");
    let stored = as_json(&api(&site, "POST", "/deliveries/bulk", Some(json!(many))));
    assert_eq!((&stored["created"], &stored["updated"]), (&json!(1000), &json!(0)));
    many.push(delivery("B1000"));
    assert_eq!(api(&site, "POST", "/deliveries/bulk", Some(json!(many))).status(), 422);

    let (mut after, mut seen) = (String::new(), 0);
    loop {
        let page = as_json(&api(&site, "GET", &format!("/deliveries?limit=170&day=2030-03-02{after}"), None));
        seen += page["items"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, 1000);
    assert_eq!(as_json(&api(&site, "GET", "/deliveries?day=2030-03-01", None))["items"], json!([]));
}

#[test]
fn calls_are_created_once_listed_and_cancelled() {
    let site = Site::start();
    let body = json!({ "number": "+442071838750", "plan": "delivery-confirm", "vars": { "name": "Ada" } })
        .to_string();
    let post = |body: &str| {
        let headers = [("authorization", key(&site)), ("idempotency-key", "k1".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        send(&site, "POST", "/api/v1/calls", &headers, Some(body))
    };
    let first = post(&body);
    assert_eq!(first.status(), 201);
    assert_eq!(post(&body).status(), 200);
    assert_eq!(post(&body.replace("8750", "8751")).status(), 409);
    let id = as_json(&first)["id"].as_str().unwrap().to_owned();
    let missing =
        api(&site, "POST", "/calls", Some(json!({ "number": "+442071838750", "plan": "delivery-confirm" })));
    assert_eq!(as_json(&missing)["errors"][0]["field"], "vars.name");
    assert_eq!(as_json(&api(&site, "GET", "/calls", None))["items"].as_array().unwrap().len(), 1);
    assert_eq!(api(&site, "POST", &format!("/calls/{id}/hang-up"), None).status(), 409);
    let cancelled = as_json(&api(&site, "POST", &format!("/calls/{id}/cancel"), None));
    assert_eq!(cancelled["outcome"], "cancelled");
    assert_eq!(api(&site, "POST", &format!("/calls/{id}/cancel"), None).status(), 409);
    let whole = as_json(&api(&site, "GET", &format!("/calls/{id}"), None));
    assert_eq!(whole["attempts"], json!([]));
}

#[test]
fn agents_see_their_own_and_change_nothing() {
    let site = Site::start();
    let (delivery_id, recording) = site.recorded("A1", "Ada Lovelace");
    let (grace, alan) = (sign_in(&site, "grace"), sign_in(&site, "alan"));
    let count = |cookie: &str| {
        as_json(&as_person(&site, cookie, "GET", "/deliveries?agent=grace", None))["items"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((count(&grace), count(&alan)), (1, 0));
    for path in [format!("/deliveries/{delivery_id}"), format!("/recordings/{recording}")] {
        assert_eq!(as_person(&site, &grace, "GET", &path, None).status(), 200);
        assert_eq!(as_person(&site, &alan, "GET", &path, None).status(), 404);
    }
    let audio = format!("/recordings/{recording}/audio.wav");
    assert_eq!(as_person(&site, &alan, "GET", &audio, None).status(), 404);
    let body = delivery("A2").to_string();
    assert_eq!(as_json(&as_person(&site, &grace, "POST", "/deliveries", Some(&body)))["code"], "forbidden");
    assert_eq!(as_person(&site, &grace, "GET", "/users", None).status(), 403);

    let view =
        |cookie: &str| as_json(&as_person(&site, cookie, "GET", &format!("/deliveries/{delivery_id}"), None));
    assert_eq!(view(&grace)["recording"]["listened"], false);
    assert_eq!(
        as_person(&site, &grace, "POST", &format!("/recordings/{recording}/listened"), None).status(),
        204
    );
    assert_eq!(view(&grace)["recording"]["listened"], true);
    let dora = sign_in(&site, "dora");
    assert_eq!(view(&dora)["recording"]["listened"], false);
}

#[test]
fn sound_comes_in_ranges() {
    let site = Site::start();
    let (_, id) = site.recorded("A1", "Ada Lovelace");
    let path = format!("/api/v1/recordings/{id}/audio.wav");
    let authorization = key(&site);
    let get = |method: &str, extra: &[(&str, &str)]| {
        let headers = [&[("authorization", authorization.as_str())], extra].concat();
        send(&site, method, &path, &headers, None)
    };
    let whole = get("GET", &[]);
    let file = std::fs::read(site.dir.path().join("A1.wav")).unwrap();
    assert_eq!((whole.status().as_u16(), whole.body() == &file), (200, true));
    assert_eq!((header(&whole, "accept-ranges"), header(&whole, "content-type")), ("bytes", "audio/wav"));
    let etag = header(&whole, "etag").to_owned();

    let part = get("GET", &[("range", "bytes=1000-1999")]);
    assert_eq!((part.status().as_u16(), part.body().as_slice()), (206, &file[1000..2000]));
    assert_eq!(header(&part, "content-range"), format!("bytes 1000-1999/{}", file.len()));
    let tail = get("GET", &[("range", "bytes=-44"), ("if-range", &etag)]);
    assert_eq!((tail.status().as_u16(), tail.body().as_slice()), (206, &file[file.len() - 44..]));
    assert_eq!(get("GET", &[("range", "bytes=-44"), ("if-range", "\"old\"")]).status(), 200);
    let beyond = get("GET", &[("range", "bytes=99999999-")]);
    assert_eq!(
        (beyond.status().as_u16(), header(&beyond, "content-range")),
        (416, &*format!("bytes */{}", file.len()))
    );
    assert_eq!(get("GET", &[("if-none-match", &etag)]).status(), 304);
    let head = get("HEAD", &[("range", "bytes=0-1")]);
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    assert_eq!(header(&head, "content-length"), file.len().to_string());

    std::fs::remove_file(site.dir.path().join("A1.wav")).unwrap();
    assert_eq!(as_json(&get("GET", &[]))["code"], "recording_lost");
}

/// Reads events until `count` have come; returns their numbers and kinds.
fn events(site: &Site, cookie: &str, query: &str, resume: &str, count: usize) -> Vec<(i64, String)> {
    let mut stream = TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /api/v1/events{query} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n{resume}\r\n")
        .unwrap();
    let mut found = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if let Some(data) = line.strip_prefix("data: {\"").map(|rest| format!("{{\"{rest}")) {
            let event: Value = serde_json::from_str(&data).unwrap();
            found.push((event["seq"].as_i64().unwrap(), event["kind"].as_str().unwrap().to_owned()));
            if found.len() == count {
                break;
            }
        }
    }
    found
}

#[test]
fn events_resume_without_loss_and_only_to_those_concerned() {
    let site = Site::start();
    site.recorded("A1", "Ada Lovelace");
    let dora = sign_in(&site, "dora");
    let all = events(&site, &dora, "?after=0", "", 8);
    assert!(all.is_sorted_by(|a, b| a.0 < b.0), "{all:?}");
    assert_eq!(all[0].1, "delivery.created");
    let third = all[2].0;
    assert_eq!(events(&site, &dora, "?after=0", &format!("Last-Event-ID: {third}\r\n"), 5), all[3..]);

    // Alan sees nothing of Grace's delivery; his own comes while he listens.
    let alan = sign_in(&site, "alan");
    let own = std::thread::scope(|scope| {
        let reader = scope.spawn(|| events(&site, &alan, "?after=0", "", 1));
        let mut new = delivery("A2");
        new["agent"] = json!("alan");
        assert_eq!(api(&site, "POST", "/deliveries", Some(new)).status(), 201);
        reader.join().unwrap()
    });
    assert_eq!(own[0].1, "delivery.created");
    assert!(own[0].0 > all[7].0);
}

#[test]
fn a_reader_from_before_the_log_is_told_to_start_anew() {
    let site = Site::start();
    site.recorded("A1", "Ada Lovelace");
    let later = jiff::Timestamp::now().saturating_add(jiff::SignedDuration::from_hours(1)).unwrap();
    let pruned = callahead::store::events::prune(&site.store, later, jiff::SignedDuration::from_secs(60));
    assert!(site.runtime.block_on(pruned).unwrap() > 2);
    let dora = sign_in(&site, "dora");
    let mut stream = TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /api/v1/events?after=1 HTTP/1.1\r\nHost: x\r\nCookie: {dora}\r\n\r\n").unwrap();
    let mut lines =
        BufReader::new(stream).lines().map(Result::unwrap).filter(|line| line.starts_with("event: "));
    assert_eq!(
        (lines.next().as_deref(), lines.next().as_deref()),
        (Some("event: hello"), Some("event: reset"))
    );
}

#[test]
fn event_streams_are_bounded() {
    let site = Site::start();
    let dora = sign_in(&site, "dora");
    let open = || {
        let mut stream = TcpStream::connect(site.address).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nCookie: {dora}\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        (stream, line)
    };
    let streams: Vec<_> = (0..256).map(|_| open()).collect();
    assert!(streams.iter().all(|(_, line)| line.contains(" 200 ")));
    assert!(open().1.contains(" 503 "));
}

#[test]
fn admins_edit_users() {
    let site = Site::start();
    let new = json!({ "username": "Linus", "role": "agent", "password": "long enough" });
    let made = api(&site, "POST", "/users", Some(new.clone()));
    assert_eq!(made.status(), 201);
    assert!(!String::from_utf8_lossy(made.body()).contains("argon2"));
    assert_eq!(api(&site, "POST", "/users", Some(new)).status(), 409);
    let short = json!({ "username": "x", "role": "agent", "password": "short" });
    assert_eq!(as_json(&api(&site, "POST", "/users", Some(short)))["errors"][0]["field"], "password");
    let path = format!("/users/{}", as_json(&made)["id"].as_str().unwrap());
    assert_eq!(
        as_json(&api(&site, "PATCH", &path, Some(json!({ "role": "dispatcher" }))))["role"],
        "dispatcher"
    );

    let ada = sign_in(&site, "ada");
    let me = as_json(&as_person(&site, &ada, "GET", "/session", None));
    let own = format!("/users/{}", me["id"].as_str().unwrap());
    assert_eq!(as_person(&site, &ada, "PATCH", &own, Some(r#"{"disabled": true}"#)).status(), 409);
}

#[test]
fn every_answer_has_the_security_headers() {
    let site = Site::start();
    for path in ["/", "/page/app.js", "/api/v1/session", "/healthz", "/readyz", "/nowhere"] {
        let reply = send(&site, "GET", path, &[], None);
        assert!(
            header(&reply, "content-security-policy").starts_with("default-src 'none'; script-src 'self'"),
            "{path}"
        );
        assert_eq!(header(&reply, "x-content-type-options"), "nosniff", "{path}");
        assert!(!header(&reply, "cache-control").is_empty(), "{path}");
    }
    let page = send(&site, "GET", "/", &[], None);
    let etag = header(&page, "etag").to_owned();
    assert_eq!(send(&site, "GET", "/", &[("if-none-match", &etag)], None).status(), 304);
    assert_eq!(send(&site, "GET", "/readyz", &[], None).status(), 200);
}
