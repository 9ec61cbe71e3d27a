//! What a file may hold, and what is said when it holds something else.

use super::file::parse;
use super::*;

fn fault(text: &str) -> String {
    let (mut config, places) = match parse("skyweir.toml", text) {
        Ok(read) => read,
        Err(error) => return format!("{error:#}"),
    };
    config.share();
    config.verify(&places, &[]).map_or_else(|error| format!("{error:#}"), |()| "none".to_owned())
}

#[test]
fn unknown_keys_are_named_with_what_was_meant() {
    assert_eq!(
        fault("# one\n\n\n\n\n\ngrcp = \"127.0.0.1:1\"\n"),
        "cannot read skyweir.toml, line 7: unknown key \"grcp\", did you mean \"grpc\"?"
    );
    assert_eq!(
        fault("[timeline]\ncpa = 3\n"),
        "cannot read skyweir.toml, line 2: unknown key \"cpa\" in [timeline], did you mean \"cap\"?"
    );
    assert_eq!(
        fault("[indexer.source]\nqueue = 5\ncompres = true\n"),
        "cannot read skyweir.toml, line 3: unknown key \"compres\" in [indexer.source], did you mean \"compress\"?"
    );
    assert_eq!(
        fault("timeline = { zebra = 1 }"),
        "cannot read skyweir.toml, line 1: unknown key \"zebra\" in [timeline]; known are reasonable_limit, cap, memory_mb, draw_key"
    );
}

#[test]
fn shared_values_have_one_place() {
    for text in [
        "[writer]\ncap = 5",
        "[api]\nreasonable_limit = 5",
        "[rings]\ncap = 5",
        "[store]\ndata_dir = \"x\"",
        "[scylla.timelines]\ncap = 5",
    ] {
        assert!(fault(text).contains("line 2: unknown key"), "{}", fault(text));
    }
    let (mut config, _) = parse("x", "[timeline]\ncap = 77\nreasonable_limit = 5\nmemory_mb = 3\n").unwrap();
    config.share();
    assert_eq!((config.rings.cap, config.writer.cap, config.api.cap), (77, 77, 77));
    assert_eq!(config.rings.memory_bytes, 3 << 20);
    let rows = &config.scylla.timelines;
    assert_eq!((rows.cap, rows.memory_bytes), (77, 3 << 20));
    let Config { graph, writer, api, .. } = &config;
    assert_eq!((graph.reasonable_limit, writer.reasonable_limit, api.reasonable_limit), (5, 5, 5));
}

#[test]
fn wrong_types_are_named_with_what_is_expected() {
    for (text, said) in [
        (
            "grpc = 5",
            "line 1: grpc: invalid type: integer `5`, expected an address and a port, as in \"127.0.0.1:7700\"",
        ),
        (
            "\n[timeline]\ncap = \"x\"",
            "line 3: timeline.cap: invalid type: string \"x\", expected a whole number from 0 on",
        ),
        (
            "[writer]\nenrol = \"some\"",
            "line 2: writer.enrol: unknown variant `some`, expected `reads` or `all`",
        ),
        (
            "cursor = -4",
            "line 1: cursor: invalid value: integer `-4`, expected \"live\", \"auto\" or a number from 0 on",
        ),
        (
            "[timeline]\ndraw_key = \"12\"",
            "line 2: timeline.draw_key: invalid value, expected 32 hexadecimal digits",
        ),
        (
            "[graph]\nlisten = \"localhost:7702\"",
            "line 2: graph.listen: names aren't looked up here, expected an address and a port, as in \"127.0.0.1:7700\"",
        ),
    ] {
        assert_eq!(fault(text), format!("cannot read skyweir.toml, {said}"));
    }
    assert!(fault("grpc = \n").starts_with("cannot read skyweir.toml, line 1: "), "{}", fault("grpc = \n"));
}

#[test]
fn values_out_of_range_are_named_all_at_once() {
    assert_eq!(
        fault("[timeline]\ncap = 0\n\n[rings]\nslices = 70000"),
        "cannot use skyweir.toml, line 2: timeline.cap is 0: expected 1 to 65536\n\
         cannot use skyweir.toml, line 5: rings.slices is 70000: expected 1 to 65536"
    );
    assert_eq!(
        fault("[indexer.source]\nqueue = 0"),
        "cannot use skyweir.toml, line 2: indexer.source.queue has to be at least 1"
    );
    assert!(fault("source = \"http://x\"").contains("line 1: source is no use: \"http://x\" is no source"));
    assert!(
        fault("shutdown_grace_seconds = 15").contains("expected more than api.drain_ms and writer.drain_ms")
    );
}

#[test]
fn limits_have_a_range() {
    for (section, key, least, most, expected) in [
        ("api", "upstream_requests", 1_u64, 1_000_000_u64, "1 to 1000000"),
        ("api", "upstream_connections", 1, 65_536, "1 to 65536"),
        ("api", "upstream_timeout_ms", 1, 86_400_000, "1 to 86400000"),
        ("api", "upstream_max_bytes", 1_024, 1 << 40, "at least 1024"),
        ("store", "load_mb", 64, 65_536, "64 to 65536"),
    ] {
        for fits in [least, most] {
            assert_eq!(fault(&format!("[{section}]\n{key} = {fits}")), "none");
        }
        for wrong in [least - 1, most + 1] {
            let said = format!("line 2: {section}.{key} is {wrong}: expected {expected}");
            assert_eq!(
                fault(&format!("[{section}]\n{key} = {wrong}")),
                format!("cannot use skyweir.toml, {said}")
            );
        }
    }
}

#[test]
fn limits_of_a_cluster_have_a_range() {
    let fault = |text: &str| fault(&format!("{text}\nbackend = \"scylla\""));
    for (key, least, most) in [
        ("scylla.replication", 1_u64, 10_u64),
        ("scylla.superseded_ttl_s", 30, 86_400),
        ("scylla.followers_bucket", 100, 1_000_000),
        ("scylla.request_timeout_ms", 100, 60_000),
        ("scylla.speculate_ms", 1, 60_000),
        ("scylla.in_flight", 1, 4_096),
        ("scylla.connections", 1, 64),
        ("scylla.wishes_most", 1, 1_000_000),
        ("scylla.timelines.trims_at_once", 1, 256),
        ("scylla.timelines.shards_per_node", 1, 1_024),
        ("scylla.timelines.batch_rows", 1, 200),
        ("scylla.timelines.batches_in_flight", 1, 256),
        ("scylla.timelines.resend_ms", 50, 60_000),
        ("scylla.timelines.page_rows", 2, 5_000),
        ("scylla.timelines.news_most", 1_000, 10_000_000),
        ("scylla.timelines.reads_most", 1_000, 100_000_000),
        ("scylla.timelines.news_ms", 10, 60_000),
        ("scylla.timelines.reload_ms", 1, 60_000),
        ("scylla.timelines.filling_ms", 10_000, 3_600_000),
    ] {
        for fits in [least, most] {
            assert_eq!(fault(&format!("{key} = {fits}")), "none");
        }
        for wrong in [least - 1, most + 1] {
            let said =
                format!("cannot use skyweir.toml, line 1: {key} is {wrong}: expected {least} to {most}");
            assert_eq!(fault(&format!("{key} = {wrong}")), said);
        }
    }
    let lease = |ms, ttl| fault(&format!("scylla.lease_ms = {ms}\nscylla.superseded_ttl_s = {ttl}"));
    for (ms, ttl) in [(1_000, 30), (15_000, 30), (600_000, 1_200)] {
        assert_eq!(lease(ms, ttl), "none");
    }
    for wrong in [999, 600_001] {
        let said = format!("line 1: scylla.lease_ms is {wrong}: expected 1000 to 600000");
        assert_eq!(lease(wrong, 86_400), format!("cannot use skyweir.toml, {said}"));
    }
    let said = "line 2: scylla.superseded_ttl_s is 30: expected at least twice scylla.lease_ms (15001 ms); else views \
                end before the lease is renewed";
    assert_eq!(lease(15_001, 30), format!("cannot use skyweir.toml, {said}"));
    for (text, said) in [
        ("nodes = []", "scylla.nodes is empty: expected at least one HOST:PORT"),
        ("redis = \"h:1\"", "scylla.redis is \"h:1\": expected for example redis://127.0.0.1:6379"),
        (
            "redis = \"rediss://me:se@same@h:1\"",
            "scylla.redis is \"rediss://..@h:1\": expected for example redis://127.0.0.1:6379",
        ),
        (
            "redis = \"redis+unix:///run/redis.sock?pass=sesa@me\"",
            "scylla.redis is \"..\": expected for example redis://127.0.0.1:6379",
        ),
        ("holder = \"\"", "scylla.holder is empty: expected a name"),
    ] {
        assert_eq!(fault(&format!("scylla.{text}")), format!("cannot use skyweir.toml, line 1: {said}"));
    }
}

#[test]
fn who_logs_in_has_all_it_takes() {
    let fault = |keys: &[&str]| {
        let keys = keys.iter().map(|key| format!("scylla.{key}\n")).collect::<String>();
        fault(&format!("{keys}backend = \"scylla\""))
    };
    let (user, password, file) = ("user = \"me\"", "password = \"sesame\"", "password_file = \"f\"");
    let (ca, certificate, key) = ("tls_ca = \"f\"", "tls_certificate = \"f\"", "tls_key = \"f\"");
    for works in [
        &[user, password][..],
        &[user, file],
        &[ca],
        &[ca, certificate, key],
        &[ca, "tls_verify_address = false"],
    ] {
        assert_eq!(fault(works), "none");
    }
    for (keys, said) in [
        (&[user][..], "scylla.user is set: expected scylla.password_file beside it"),
        (&[password], "scylla.password is set: expected scylla.user beside it"),
        (&[file], "scylla.password_file is set: expected scylla.user beside it"),
        (
            &[password, file, user],
            "scylla.password is set, and scylla.password_file as well: expected one of them",
        ),
        (
            &["user = \"\"", file],
            "scylla.user is \"\": expected 1 to 1024 bytes in one line, none of them NUL",
        ),
        (
            &["password = \"se\\nsame\"", user],
            "scylla.password can't be one: expected 1 to 1024 bytes in one line, none of them NUL",
        ),
        (&[certificate, ca], "scylla.tls_certificate is set: expected scylla.tls_key beside it"),
        (&[certificate, key], "scylla.tls_certificate is set: expected scylla.tls_ca beside it"),
        (&[key, ca], "scylla.tls_key is set: expected scylla.tls_certificate beside it"),
        (
            &["tls_verify_address = false"],
            "scylla.tls_verify_address is false: expected scylla.tls_ca beside it",
        ),
        (&["tls_ca = \"\""], "scylla.tls_ca is empty: expected the path of a file"),
    ] {
        assert_eq!(fault(keys), format!("cannot use skyweir.toml, line 1: {said}"));
    }
    let said = "cannot read skyweir.toml, line 1: scylla.password: invalid value, expected a text in quotes";
    assert_eq!(fault(&["password = 5350"]), said);
    for wrong in
        ["password = sesame", "password = \"sesame", "pasword = \"sesame\"", "password = [\"sesame\"]"]
    {
        let said = fault(&[wrong, user]);
        assert!(said.starts_with("cannot read skyweir.toml, line 1: ") && !said.contains("sesame"), "{said}");
    }
    let (config, _) = parse("x", "scylla.password = \"sesame\"").unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("password: Some(Password(..))") && !shown.contains("sesame"), "{shown}");
}

#[test]
fn a_served_graph_has_a_port_of_its_own_and_servers_have_addresses() {
    for (text, said) in [
        ("listen = \"127.0.0.1:7700\"", "graph.listen is 127.0.0.1:7700, as grpc is: expected another port"),
        ("listen = \"127.0.0.1:7701\"", "graph.listen is 127.0.0.1:7701, as admin is: expected another port"),
        ("remote_streams = 0", "graph.remote_streams is 0: expected 1 to 65536"),
        ("max_streams = 0", "graph.max_streams is 0: expected 1 to 1000000"),
        ("max_connections = 0", "graph.max_connections is 0: expected 1 to 65536"),
        ("pages_at_once = 0", "graph.pages_at_once is 0: expected 1 to 65536"),
        ("timeout_ms = 0", "graph.timeout_ms is 0: expected 1 to 86400000"),
        ("keepalive_ms = 99", "graph.keepalive_ms is 99: expected 100 to 86400000"),
    ] {
        assert_eq!(fault(&format!("[graph]\n{text}")), format!("cannot use skyweir.toml, line 2: {said}"));
    }
    assert_eq!(fault("[graph]\nremote = [\"graph:7702\", \"[::1]:1\"]\nlisten = \"127.0.0.1:0\""), "none");
    let said = fault("[graph]\nremote = [\"graph:7702\", \"graph\"]");
    assert!(
        said.contains("line 2: graph.remote: \"graph\" is no server of the graph: expected HOST:PORT"),
        "{said}"
    );
    let said = fault("shutdown_grace_seconds = 16\n[graph]\nlisten = \"127.0.0.1:0\"");
    assert!(
        said.contains("api.drain_ms and writer.drain_ms and graph.drain_ms together, which are 17000 ms"),
        "{said}"
    );
    assert_eq!(fault("shutdown_grace_seconds = 16"), "none");
    for (section, key) in [("graph", "drain_ms"), ("writer", "drain_ms"), ("api", "drain_ms")] {
        let said = fault(&format!("{section}.{key} = 30000\ngraph.listen = \"127.0.0.1:0\""));
        let wanted = "cannot use skyweir.toml, line 1: shutdown_grace_seconds is 25: expected more than";
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn a_cluster_has_a_backend_and_a_plain_name() {
    let said = fault("grpc = \"127.0.0.1:1\"\n[scylla]\nkeyspace = \"x\"");
    let wanted = "cannot use skyweir.toml, line 2: [scylla] is set, and backend is \"embedded\"";
    assert!(said.starts_with(wanted) && said.contains("expected backend = \"scylla\""), "{said}");
    assert_eq!(fault("backend = \"scylla\"\n[scylla]\nkeyspace = \"x_1\""), "none");
    for name in ["", "_a", "1a", "A", "a-b", "a;", "a\\nb"] {
        let said = fault(&format!("backend = \"scylla\"\n[scylla]\nkeyspace = \"{name}\""));
        let wanted =
            format!("cannot use skyweir.toml, line 3: scylla.keyspace is \"{name}\": expected 1 to 48");
        assert!(said.starts_with(&wanted), "{said}");
    }
}

#[test]
fn roles_are_split_where_that_works() {
    let on_a_cluster = |roles: &str| fault(&format!("backend = \"scylla\"\nroles = {roles}"));
    for roles in
        ["[\"indexer\"]", "[\"api\"]", "[\"api\", \"writer\"]", "[\"indexer\", \"writer\", \"graph\"]"]
    {
        assert_eq!(on_a_cluster(roles), "none", "{roles}");
    }
    for (roles, said) in [
        ("[\"writr\"]", "roles: unknown role \"writr\", did you mean \"writer\"?"),
        ("[\"all\"]", "roles: unknown role \"all\"; known are indexer, graph, writer, api"),
        (
            "[]",
            "roles: invalid length 0, expected names in brackets, as in [\"indexer\", \"graph\", \"writer\", \"api\"]",
        ),
    ] {
        assert_eq!(on_a_cluster(roles), format!("cannot read skyweir.toml, line 2: {said}"));
    }
    let said = fault("roles = [\"writer\", \"api\"]");
    assert!(
        said.contains("line 1: roles is writer,api: expected indexer,graph,writer,api, as a data"),
        "{said}"
    );
    let said = on_a_cluster("[\"graph\"]");
    assert!(
        said.starts_with("cannot use the settings: graph.listen is not set: expected ADDR:PORT"),
        "{said}"
    );
    // what a role has no use for needn't be right
    let graph = |more: &str| format!("[\"graph\"]\n{more}\n[graph]\nlisten = \"127.0.0.1:7700\"");
    assert_eq!(on_a_cluster(&graph("source = \"http://x\"")), "none");
    assert!(
        on_a_cluster(&graph("admin = \"127.0.0.1:7700\""))
            .contains("graph.listen is 127.0.0.1:7700, as admin")
    );
}

#[test]
fn items_are_kept_for_an_age_or_for_ever() {
    for (text, hours) in
        [("", None), ("[items]\nkeep = \"all\"", None), ("[items]\nkeep = \"30d\"", Some(720))]
    {
        let (mut config, _) = parse("x", text).unwrap();
        config.share();
        assert_eq!(config.indexer.keep_hours, hours);
    }
    assert_eq!(
        fault("[items]\nkeep = \"5h\""),
        "cannot use skyweir.toml, line 2: items.keep is 5 hours: expected \"1d\" to \"36500d\", or \"all\""
    );
    for text in ["[items]\nkeep = \"a year\"", "[items]\nkeep = 365"] {
        let said = fault(text);
        assert!(said.contains("line 2: items.keep: invalid"), "{said}");
        assert!(
            said.contains("expected an age in quotes, for example \"365d\", \"36h\" or \"all\""),
            "{said}"
        );
    }
    assert!(fault("[indexer]\nkeep_hours = 9").contains("line 2: unknown key"));
}

#[test]
fn the_defaults_work() {
    assert_eq!(fault(""), "none");
}

#[test]
fn every_form_of_a_cursor_is_read() {
    for (text, cursor) in [
        ("", CursorChoice::Auto),
        ("cursor = \"live\"", CursorChoice::Live),
        ("cursor = 7", CursorChoice::At(7)),
        ("cursor = \"7\"", CursorChoice::At(7)),
    ] {
        assert_eq!(parse("x", text).unwrap().0.cursor, cursor);
    }
}

#[test]
fn flags_win_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("skyweir.toml");
    std::fs::write(&file, "grpc = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n[timeline]\ncap = 3\n").unwrap();
    let mut options = ServeOptions { config: Some(file), cap: Some(4), ..ServeOptions::default() };
    let config = Config::load(&options).unwrap();
    assert_eq!((config.grpc.port(), config.admin.port(), config.rings.cap), (1, 2, 4));
    options.cap = Some(0);
    let error = Config::load(&options).unwrap_err();
    assert_eq!(error.to_string(), "cannot use the settings: --cap is 0: expected 1 to 65536");
}
