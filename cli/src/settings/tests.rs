//! Which source is heard, what is refused, and what is never printed.

use super::*;
use secrecy::ExposeSecret as _;

/// A configuration file in a directory of its own, flags and environment; all empty at first.
struct Given {
    dir: tempfile::TempDir,
    flags: Flags,
    environment: Environment,
}

impl Given {
    fn nothing() -> Given {
        let dir = tempfile::tempdir().unwrap();
        Given { dir, flags: Flags::default(), environment: Environment::new() }
    }

    fn file(self, toml: &str) -> Given {
        std::fs::write(self.path("synod.toml"), toml).unwrap();
        self
    }

    fn environment(mut self, name: &str, value: &str) -> Given {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<Settings, SettingsError> {
        Settings::from(&self.flags, &self.environment, self.path("synod.toml"))
    }

    fn refused(&self) -> String {
        self.load().expect_err("it should be refused").to_string()
    }
}

#[test]
fn a_flag_is_heard_before_the_environment_before_the_file_before_the_default() {
    let mut given = Given::nothing();
    let check = |given: &Given, value: &str, source: Source| {
        let workspace = given.load().unwrap().workspace;
        assert_eq!((workspace.value.as_str(), workspace.source), (value, source));
    };
    check(&given, "default", Source::Default);
    given = given.file("workspace = \"filed\"");
    check(&given, "filed", Source::File(given.path("synod.toml")));
    given = given.environment("SYNOD_WORKSPACE", "");
    check(&given, "filed", Source::File(given.path("synod.toml")));
    given = given.environment("SYNOD_WORKSPACE", "around");
    check(&given, "around", Source::Environment("SYNOD_WORKSPACE"));
    given.flags.workspace = Some("flagged".to_owned());
    check(&given, "flagged", Source::Flag);
}

#[test]
fn an_endpoints_file_stands_just_below_what_named_it() {
    let mut given = Given::nothing().environment("SYNOD_KAFKA_BROKERS", "env:1");
    let endpoints = given.path("endpoints.json");
    let written = r#"{"http":"http://127.0.0.1:1234/","kafka":"up:2","redis":"redis://127.0.0.1:99"}"#;
    std::fs::write(&endpoints, written).unwrap();

    given = given.environment("SYNOD_ENDPOINTS", endpoints.to_str().unwrap());
    let settings = given.load().unwrap();
    assert_eq!(settings.kafka_brokers.value, "env:1");
    assert_eq!(settings.http_url.value.as_str(), "http://127.0.0.1:1234");
    assert_eq!(settings.redis_url.source, Source::Endpoints(endpoints.clone()));

    given.flags.endpoints = Some(endpoints);
    assert_eq!(given.load().unwrap().kafka_brokers.value, "up:2");
    given.flags.kafka_brokers = Some("flag:3".to_owned());
    assert_eq!(given.load().unwrap().kafka_brokers.value, "flag:3");
}

#[test]
fn an_unknown_name_in_the_file_is_refused_with_the_nearest_valid_one() {
    let check = |toml: &str, said: &str| {
        let refused = Given::nothing().file(toml).refused();
        assert!(refused.contains(said), "{refused}");
    };
    check("kafka_broker = 'a:1'", "did you mean \"kafka_brokers\"?");
    check("Redis-Url = 'redis://a'", "did you mean \"redis_url\"?");
    check("brokers = 'a:1'", "did you mean \"kafka_brokers\"?");
    check("[kafka]\nbrokers = 'a:1'", "did you mean \"kafka_");
    check("zzz = 1", "there are kafka_brokers, kafka_security_protocol,");
}

#[test]
fn a_value_that_makes_no_sense_is_refused_with_its_source() {
    let check = |name: &str, value: &str, said: &str| {
        let refused = Given::nothing().environment(name, value).refused();
        assert!(refused.contains(said) && refused.contains(name), "{refused}");
    };
    check("SYNOD_KAFKA_BROKERS", "localhost", "host:port");
    check("SYNOD_KAFKA_BROKERS", "a:1,,b:2", "host:port");
    check("SYNOD_REDIS_URL", "localhost:6379", "the schemes are");
    check("SYNOD_HTTP_LISTEN", "7700", "127.0.0.1:7700");
    check("SYNOD_HTTP_URL", "https://x", "http");
    check("SYNOD_WORKSPACE", "Not Valid", "workspace");
    check("SYNOD_PARTITIONS", "0", "1 to 1024");
    check("SYNOD_REPLICATION", "x", "1 to 15");
    check("SYNOD_SNAPSHOT_EVERY", "999ms", "1s and more");
    check("SYNOD_SNAPSHOT_EVERY", "forever", "or off");
    check("SYNOD_SNAPSHOT_KEPT", "91d", "at most 90d");
    check("SYNOD_SNAPSHOT_COUNT", "0", "1 to 1000");
    check("SYNOD_WEBHOOK_ALLOW", "127.0.0.1", "host:port");
    check("SYNOD_WEBHOOK_ALLOW", "a:1,:2", "host:port");
    check("SYNOD_LOG_FORMAT", "xml", "text or json");
    check("SYNOD_KAFKA_SECURITY_PROTOCOL", "tls", "plaintext, ssl, sasl_plaintext, sasl_ssl");
    check("SYNOD_KAFKA_SASL_MECHANISM", "GSSAPI", "SCRAM-SHA-512");
    check("SYNOD_HTTP_OPEN", "maybe", "yes or no");
    check("SYNOD_HTTP_KEYS", "00ff", "64 hexadecimal digits");
    check("SYNOD_IMAGE_WITHIN", "99", "100 to 1000000");
    check("SYNOD_LIVE_MIB", "0", "1 to 65536");
    check("SYNOD_QUOTA", "acme=x", "0 to 1000000");
    check("SYNOD_QUOTA", "5,6", "said twice");
    check("SYNOD_QUOTA", "Acme=5", "workspace");
    check("SYNOD_LIMITS", "5", "as name=4");
    check("SYNOD_LIMITS", "a/b/c=5", "capability");
    check("SYNOD_RETRIES", "20%", "as 20% + 10/s");
    check("SYNOD_RETRIES", "2000% + 1/s", "at most 1000%");
    check("SYNOD_WEIGHTS", "acme=0", "1 to 1000000");
    check("SYNOD_PER_KEY", "0", "1 to 1000000");
    check("SYNOD_AGING", "forever", "at most 366d");
    check("SYNOD_WAITING", "0", "1 to 100000000");
    check("SYNOD_ENDED_KEPT", "8d", "at most 7d");
    check("SYNOD_ENDED_KEPT", "forever", "at most 7d");
    check("SYNOD_RUNS_KEPT", "169h", "at most 7d");
    for wrong in ["h", "1", "-1s", "1w", "1.5h", "1 h", "99999999999999999999s", "36601d"] {
        check("SYNOD_VIEW_KEPT", wrong, "500ms");
    }
    let refused = Given::nothing().file("partitions = true").refused();
    assert!(refused.contains("not a TOML boolean"), "{refused}");
}

#[test]
fn times_are_read_and_shown_alike() {
    for (text, ms, shown) in [
        ("0s", 0, "0ms"),
        ("1500ms", 1_500, "1500ms"),
        ("120s", 120_000, "2m"),
        ("24h", 86_400_000, "1d"),
        ("36600d", 36_600 * 86_400_000, "36600d"),
    ] {
        let span: Span = text.parse().unwrap();
        assert_eq!((span, span.to_string().as_str()), (Span(Some(Duration::from_millis(ms))), shown));
    }
    assert_eq!(
        ("forever".parse::<Span>().unwrap(), Span(None).to_string().as_str()),
        (Span(None), "forever")
    );
}

#[test]
fn the_rules_by_which_tasks_wait_are_those_that_were_said() {
    let given = Given::nothing().environment("SYNOD_QUOTA", "20, acme=5").file(
        "limits = \"ocr=4,acme/ocr=0\"\nper_key = 2\naging = \"500ms\"\nweights = \"acme=3\"\nwaiting = 10\nretries = \"5% + 2/s\"",
    );
    let settings = given.load().unwrap();
    let (acme, ocr) =
        ("acme".parse::<Workspace>().unwrap(), "ocr".parse::<synod_protocol::Capability>().unwrap());
    let wanted = synod_ledger::Rules {
        queue: synod_fleet::queue::Settings {
            aging_ms: 500,
            waiting: 10,
            waiting_per_workspace: 100_000,
            per_key: 2,
        },
        quota: Some(20),
        quotas: [(acme.clone(), 5)].into(),
        limits: [(ocr.clone(), 4)].into(),
        limits_in: [((acme.clone(), ocr), 0)].into(),
        weights: [(acme, 3)].into(),
        retries: synod_fleet::retry::BudgetSettings { ratio: 0.05, min_per_second: 2, window_s: 10 },
    };
    assert_eq!(settings.rules(), wanted);
    assert_eq!(
        (settings.quota.value.to_string(), settings.limits.value.to_string()),
        ("20,acme=5".into(), "ocr=4,acme/ocr=0".into())
    );
    assert_eq!(Given::nothing().load().unwrap().rules(), synod_ledger::Rules::default());
}

#[test]
fn a_named_file_must_be_there() {
    let mut given = Given::nothing();
    given.flags.config = Some(given.path("absent.toml"));
    assert!(given.refused().contains("absent.toml"));
    let given = Given::nothing().environment("SYNOD_ENDPOINTS", "/absent.json");
    let said = given.refused();
    assert!(
        said.contains("absent.json") && said.contains("`synod up --endpoints /absent.json` writes it"),
        "{said}"
    );
}

#[test]
fn a_password_is_never_printed() {
    let secret = "s3cr3t";
    let check = |given: Given| {
        let shown = match given.load() {
            Ok(settings) => format!("{:?} {settings:?}", settings.rows()),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(secret), "{shown}");
    };
    check(Given::nothing().environment("SYNOD_REDIS_URL", "redis://user:s3cr3t@host:1/0"));
    check(Given::nothing().environment("SYNOD_REDIS_URL", "redis://:s3cr3t@host:1/0?password=s3cr3t"));
    check(Given::nothing().environment("SYNOD_REDIS_URL", "http://:s3cr3t@host"));
    check(Given::nothing().environment("SYNOD_REDIS_URL", "redis-sentinel://:s3cr3t@host:1,host:2/synod"));
    check(Given::nothing().environment("SYNOD_REDIS_URL", "redis-sentinel://:s3cr3t@host:1"));
    check(Given::nothing().environment("SYNOD_REDIS_URL", "redis://:s3cr3t@ho st"));
    check(Given::nothing().file("redis_url = \"redis://:s3cr3t@host"));

    check(Given::nothing().environment("SYNOD_REDIS_URL", "rediss-sentinel://:s3cr3t@host:1,host:2/synod"));
    check(Given::nothing().environment("SYNOD_KAFKA_PASSWORD", secret));
    check(Given::nothing().environment("SYNOD_API_KEY", secret));
    check(Given::nothing().environment("SYNOD_API_KEY", "s3cr3t with spaces"));
    check(Given::nothing().environment("SYNOD_HTTP_KEYS", secret));
    check(Given::nothing().file("kafka_password = \"s3cr3t\"\nkafka_password_file = \"/absent\""));

    let shown = Given::nothing().file("redis_url = 'redis://:s3cr3t@host:1'").load().unwrap();
    assert_eq!(shown.redis_url.value.to_string(), "redis://:***@host:1");
    assert_eq!(shown.redis_url.value.expose(), "redis://:s3cr3t@host:1");
}

#[test]
fn who_we_are_is_put_together_from_settings_and_files() {
    let given = Given::nothing();
    let password = given.path("password");
    std::fs::write(&password, "s3cr3t\n").unwrap();
    let given = given
        .environment("SYNOD_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
        .environment("SYNOD_KAFKA_USERNAME", "me")
        .environment("SYNOD_KAFKA_PASSWORD_FILE", password.to_str().unwrap())
        .environment("SYNOD_API_KEY_FILE", password.to_str().unwrap());
    let settings = given.load().unwrap();
    let security = settings.kafka_security();
    let exposed = |secret: Option<secrecy::SecretString>| secret.map(|s| s.expose_secret().to_owned());
    assert_eq!((security.username, exposed(security.password)), (Some("me".into()), Some("s3cr3t".into())));
    assert_eq!(exposed(settings.key()), Some("s3cr3t".into()));

    let both = given.environment("SYNOD_KAFKA_PASSWORD", "other");
    assert!(both.refused().contains("one of them is wanted"));
    let check = |name: &str, value: &str, said: &str| {
        let refused = Given::nothing().environment(name, value).refused();
        assert!(refused.contains(said), "{refused}");
    };
    check("SYNOD_KAFKA_SECURITY_PROTOCOL", "sasl_ssl", "kafka_username and kafka_password");
    check("SYNOD_KAFKA_USERNAME", "me", "set that to sasl_ssl");
    check("SYNOD_KAFKA_CA", "/absent/ca.pem", "ssl or sasl_ssl");
    check("SYNOD_REDIS_CA", "/absent/ca.pem", "rediss://");
    check("SYNOD_REDIS_PASSWORD_FILE", "/absent/password", "cannot read /absent/password");
    check("SYNOD_HTTP_KEYS_FILE", "/absent/keys", "cannot read /absent/keys");
}

#[test]
fn an_embedded_mesh_is_plain_whatever_is_set_for_another() {
    let given = Given::nothing().environment("SYNOD_KAFKA_SECURITY_PROTOCOL", "ssl");
    let endpoints = given.path("endpoints.json");
    std::fs::write(&endpoints, r#"{"http":"http://h:1","kafka":"k:1","redis":"redis://r:1"}"#).unwrap();
    let given = given.environment("SYNOD_ENDPOINTS", endpoints.to_str().unwrap());
    let protocol = given.load().unwrap().kafka_security().protocol;
    assert_eq!(protocol, synod_infra::kafka::SecurityProtocol::Plaintext);
}

#[test]
fn every_setting_is_shown_and_has_a_flag() {
    let rows = Given::nothing().load().unwrap().rows();
    assert_eq!(rows.iter().map(|row| row.name).collect::<Vec<_>>(), KEYS.map(|key| key.name));
    for key in &KEYS {
        assert_eq!(key.environment, format!("SYNOD_{}", key.name.to_uppercase()));
        let row = rows.iter().find(|row| row.name == key.name).unwrap();
        assert_eq!((row.value.as_str(), row.source.as_str()), (key.default, "default"));
    }
    let command = <Flags as clap::Args>::augment_args(clap::Command::new("synod"));
    for key in &KEYS {
        let flag = key.name.replace('_', "-");
        let found = command.get_arguments().find(|arg| arg.get_long() == Some(&flag));
        assert!(found.is_some_and(|arg| arg.is_global_set()), "{flag}");
    }
}
