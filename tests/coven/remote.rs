//! The daemon of another host, through ssh. Except for one test, a script stands for ssh and runs the command here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::*;

/// This machine, whose home stays empty, and the host `web1`.
struct Hosts {
    here: Coven,
    there: Coven,
}

impl Hosts {
    fn new() -> Self {
        let (here, there) = (Coven::new(), Coven::new());
        let home = there.work().display().to_string();
        let there = there.env("HOME", home);
        let bin = here.command([] as [&str; 0]);
        let script = format!(
            r#"
echo "$@" >> {log}
while [ "$1" != -- ]; do shift; done
shift
host=$1; shift
case $host:$1 in
local:coven) echo 'sh: 1: coven: not found' >&2; exit 127 ;;
bare:* | old:* | *:coven | local:.local/bin/coven) shift ;;
*) exit 99 ;;
esac
unset COVEN_HOST LOCAL_KEY
case $host in
web1 | me@web1) export COVEN_HOME={home} HOME={work} PATH={path}:/usr/bin:/bin ;;
local) export COVEN_HOME={home} HOME={work} PATH=/usr/bin:/bin ;;
old) echo "coven: unknown command 'dial-stdio' (usage)" >&2; echo '  try: coven --help' >&2; exit 2 ;;
bare) echo 'sh: 1: coven: not found' >&2; exit 127 ;;
*) echo "ssh: connect to host $host port 22: Connection refused" >&2; exit 255 ;;
esac
cd "$HOME"
exec {coven} "$@""#,
            log = here.work().join("ssh.log").display(),
            home = there.home().display(),
            work = there.work().display(),
            path = there.bin().display(),
            coven = Path::new(bin.get_program()).display(),
        );
        here.program("ssh", &script);
        Self { here, there }
    }

    /// With a daemon that runs on the host.
    fn started() -> Self {
        let hosts = Self::new();
        hosts.there.start_daemon();
        hosts
    }

    /// Runs `coven -H web1`.
    fn cli(&self, args: &[&str]) -> Ran {
        self.here.cli([&["-H", "web1"], args].concat())
    }

    /// The calls of ssh so far.
    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.here.work().join("ssh.log"));
        let log = log.unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

#[test]
fn run_starts_the_daemon_of_the_host_alone_and_nothing_starts_one_here() {
    let hosts = Hosts::new();
    let ran = hosts.cli(&["sessions"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("(daemon_not_running)"), "{ran:?}");
    assert!(
        ran.err.contains("  try: ssh web1 coven daemon start"),
        "{ran:?}"
    );
    assert!(!hosts.there.socket().exists());
    let ran = hosts.cli(&["run", "hello", "from afar"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("you said: from afar"), "{ran:?}");
    assert_eq!(hosts.there.sessions().len(), 1);
    assert!(!hosts.here.socket().exists());
}

#[test]
fn a_command_is_one_ssh_without_a_terminal() {
    let hosts = Hosts::started();
    for verb in ["sessions", "stats", "adapters", "metrics"] {
        assert_eq!(hosts.cli(&[verb]).code, 0);
    }
    let calls = hosts.calls();
    assert_eq!(calls.len(), 4, "{calls:?}");
    for call in calls {
        let (options, command) = call.split_once(" -- ").unwrap();
        assert!(options.starts_with("-T -o ConnectTimeout="), "{call}");
        assert_eq!(command, "web1 coven dial-stdio");
    }
}

#[test]
fn sessions_are_watched_fed_and_ended_from_another_host() {
    let hosts = Hosts::started();
    let keys = json!({ "stdin": "open" });
    hosts.there.harness_with(
        "echo",
        "while read -r line; do echo \"got $line\"; done",
        keys,
    );
    let ran = hosts.cli(&["run", "-d", "echo", "wait for lines"]);
    let id = ran.out.trim().to_owned();
    let ran = hosts.cli(&["input", &id, "one"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let args = ["-H", "web1", "attach", id.as_str()];
    let ran = hosts.here.cli_with_input(args, b"two\n");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "got one\ngot two\n"),
        "{ran:?}"
    );
    let ran = hosts.cli(&["logs", "-f", &id]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "got one\ngot two\n"),
        "{ran:?}"
    );
    assert_eq!(hosts.cli(&["rename", &id, "far away"]).code, 0);
    assert!(hosts.cli(&["show", "far away"]).out.contains("far away"));
    let exported = hosts.cli(&["export", &id]);
    assert!(exported.out.lines().count() > 5, "{exported:?}");
    let id = hosts
        .cli(&["run", "-d", "echo", "again"])
        .out
        .trim()
        .to_owned();
    let ran = hosts.cli(&["kill", &id]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(hosts.cli(&["wait", &id]).code, 143);
    let offered = hosts.here.cli(["__complete", "-H", "web1", "show", ""]);
    assert!(offered.out.contains(&id), "{offered:?}");
}

/// Interrupts `run` on this machine, and asserts that the session on the host ends with it.
#[track_caller]
fn assert_interrupt_kills(hosts: &Hosts) {
    hosts.there.harness("slow", "echo begun; exec sleep 600");
    let mut child = hosts.here.spawn(["-H", "web1", "run", "slow", "x"]);
    read_until(child.stdout.as_mut().unwrap(), "begun");
    kill(child.id() as i32, libc::SIGINT);
    let ran = finish(child);
    assert_eq!(ran.code, 130, "{ran:?}");
    assert_eq!(hosts.there.sessions()[0]["status"], "killed");
}

#[test]
fn an_interrupt_kills_the_session_on_the_host() {
    assert_interrupt_kills(&Hosts::started());
}

#[test]
fn directories_are_those_of_the_host_and_files_and_stdin_those_of_this_machine() {
    let hosts = Hosts::started();
    let home = hosts.there.work().canonicalize().unwrap();
    fs::create_dir_all(home.join("project/sub")).unwrap();
    let of_host = |path: &str| home.join(path).display().to_string();
    let launched = |options: &[&str]| {
        let ran = hosts.cli(&[&["run", "-d", "--json"], options, &["hello", "x"]].concat());
        let record = ran.json();
        let path = |name: &str| record[name].as_str().unwrap().to_owned();
        (path("project_root"), path("cwd"))
    };
    let whole = home.display().to_string();
    assert_eq!(launched(&[]), (whole.clone(), whole));
    let sub = of_host("project/sub");
    assert_eq!(launched(&["--cwd", &sub]), (sub.clone(), sub.clone()));
    let project = of_host("project");
    let options = ["--root", "~/project", "--cwd", "sub"];
    assert_eq!(launched(&options), (project, sub));
    let ran = hosts.cli(&["run", "--root", "project", "hello", "x"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    fs::write(hosts.here.work().join("prompt"), "kept here").unwrap();
    let ran = hosts.cli(&["run", "hello", "--file", "prompt"]);
    assert!(ran.out.contains("you said: kept here"), "{ran:?}");
    let args = ["-H", "web1", "run", "hello", "-"];
    let ran = hosts.here.cli_with_input(args, b"typed here");
    assert!(ran.out.contains("you said: typed here"), "{ran:?}");
}

#[test]
fn only_variables_that_are_named_are_sent_to_another_host() {
    let hosts = Hosts::started();
    let keys = json!({ "pass_env": ["LOCAL_KEY"] });
    hosts
        .there
        .harness_with("keys", "echo \"key=$LOCAL_KEY other=$OTHER\"", keys);
    let said = |options: &[&str]| {
        let args = [&["-H", "web1", "run"], options, &["keys", "x"]].concat();
        let mut command = hosts.here.command(args);
        command.env("LOCAL_KEY", "k1").env("OTHER", "o1");
        Ran::of(command.output().unwrap()).out
    };
    assert_eq!(said(&[]), "key= other=\n");
    assert_eq!(said(&["-e", "OTHER"]), "key= other=o1\n");
    let ran = hosts.cli(&["rerun", "--last"]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.err.contains("not sent to another host"), "{ran:?}");
}

#[test]
fn a_host_that_is_down_is_a_row_of_the_table_of_all_hosts() {
    let hosts = Hosts::started();
    hosts.there.run("hello", "the only one");
    for verb in ["sessions", "ps", "stats", "status"] {
        let ran = hosts.here.cli([verb, "-H", "web1,web2"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let down = ran
            .out
            .lines()
            .find(|line| line.starts_with("web2"))
            .unwrap();
        assert!(down.contains(" down "), "{ran:?}");
        assert!(down.ends_with("Connection refused"), "{ran:?}");
        let document = hosts.here.cli([verb, "-H", "web1,web2", "--json"]).json();
        assert_eq!(document["hosts"][0]["ok"], true, "{document}");
        assert_eq!(document["hosts"][1]["host"], "web2");
        assert_eq!(document["hosts"][1]["error"]["code"], "host_unreachable");
    }
    let ran = hosts.here.cli(["-H", "web1,web2", "sessions"]);
    let row = ran
        .out
        .lines()
        .find(|line| line.starts_with("web1"))
        .unwrap();
    assert!(row.ends_with("the only one"), "{ran:?}");
    let ran = hosts.here.cli(["-H", "web1,me@web1", "sessions", "-q"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 2), "{ran:?}");
    let ran = hosts.here.cli(["-H", "web1,web2", "kill", "x"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        hosts
            .calls()
            .iter()
            .all(|call| call.contains("BatchMode=yes"))
    );
}

#[test]
fn verbs_for_the_own_machine_name_the_command_to_type() {
    let hosts = Hosts::new();
    for verb in [
        "daemon start",
        "daemon stop --yes",
        "daemon restart",
        "daemon upgrade --check",
        "daemon logs",
        "backup copy",
        "restore copy",
        "vacuum",
        "doctor",
        "diagnostics",
    ] {
        let words: Vec<&str> = verb.split(' ').collect();
        let ran = hosts
            .here
            .cli([&["-H", "ssh://me@web1:2222"], &words[..]].concat());
        assert_eq!(ran.code, 2, "{verb}: {ran:?}");
        let next = format!("  try: ssh -p 2222 me@web1 coven {verb}");
        assert!(ran.err.contains(&next), "{ran:?}");
    }
    assert_eq!(hosts.calls(), [""; 0]);
}

#[test]
fn what_is_no_host_never_reaches_ssh() {
    let hosts = Hosts::new();
    for host in [
        "-oProxyCommand=x",
        "me@-web1",
        "ssh://-web1",
        "ssh://-l@web1",
        "web 1",
        "web1\n",
        "web1\u{7}",
        "ssh://",
        "ssh://web1/home",
        "ssh://web1:port",
        "http://web1",
        "me@",
    ] {
        let ran = hosts.here.cli(["-H", host, "sessions"]);
        assert_eq!(ran.code, 2, "{host:?}: {ran:?}");
        let ran = hosts.here.cli(["sessions", &format!("--host={host}")]);
        assert_eq!(ran.code, 2, "{host:?}: {ran:?}");
    }
    for args in [&["-H"][..], &["sessions", "-H"], &["-H", "", "sessions"]] {
        assert_eq!(hosts.here.cli(args).code, 2, "{args:?}");
    }
    assert_eq!(hosts.calls(), [""; 0]);
}

#[test]
fn hosts_have_names_and_the_environment_names_one() {
    let hosts = Hosts::started();
    let config = hosts.here.work().join("config");
    fs::create_dir_all(config.join("coven")).unwrap();
    let text = "# ours\nbuild  ssh://me@web1:2222\n";
    fs::write(config.join("coven/hosts"), text).unwrap();
    let run = |args: &[&str], host: &str| {
        let mut command = hosts.here.command(args);
        command
            .env("XDG_CONFIG_HOME", &config)
            .env("COVEN_HOST", host);
        Ran::of(command.output().unwrap())
    };
    assert_eq!(run(&["sessions"], "build").code, 0);
    assert_eq!(run(&["-H", "build", "sessions"], "web2").code, 0);
    for call in hosts.calls() {
        assert!(call.contains("-p 2222 -- me@web1 coven "), "{call}");
    }
    let offered = run(&["__complete", "-H", ""], "");
    assert!(offered.out.starts_with("build"), "{offered:?}");
}

#[test]
fn the_words_of_a_prompt_name_no_host() {
    let hosts = Hosts::new();
    hosts.here.start_daemon();
    let ran = hosts.here.cli(["run", "hello", "--", "fix", "-H", "web1"]);
    assert!(ran.out.contains("you said: fix -H web1"), "{ran:?}");
    assert_eq!(hosts.calls(), [""; 0]);
}

#[test]
fn a_host_without_coven_one_with_an_old_coven_and_a_missing_ssh_are_told_apart() {
    let hosts = Hosts::new();
    let ran = hosts.here.cli(["-H", "bare", "sessions"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("coven is not on the PATH"), "{ran:?}");
    let ran = hosts.here.cli(["-H", "old", "sessions"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err
            .contains("is too old: it has no dial-stdio (host_unreachable)"),
        "{ran:?}"
    );
    assert!(ran.err.contains("  try: ssh old coven version"), "{ran:?}");
    let ran = hosts.here.cli(["-H", "old,bare", "sessions", "-q"]);
    assert!(
        ran.err.contains("coven: old is down: the coven there"),
        "{ran:?}"
    );
    let mut command = hosts.here.command(["-H", "web1", "sessions"]);
    let ran = Ran::of(command.env("PATH", "/nowhere").output().unwrap());
    assert!(ran.err.contains("ssh cannot be started"), "{ran:?}");
    assert!(ran.err.contains("(host_unreachable)"), "{ran:?}");
}

#[test]
fn a_coven_that_is_in_the_users_own_directory_alone_is_found_there() {
    let hosts = Hosts::new();
    let stopped = hosts.here.cli(["-H", "local", "sessions"]);
    let next = "  try: ssh local .local/bin/coven daemon start";
    assert!(stopped.err.contains(next), "{stopped:?}");
    let ran = hosts.here.cli(["-H", "local", "run", "hello", "hi"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("you said: hi"), "{ran:?}");
    let calls = hosts.calls();
    let called: Vec<&str> = calls
        .iter()
        .map(|call| call.rsplit(" -- ").next().unwrap())
        .collect();
    let [plain, own] = [
        "local coven dial-stdio",
        "local .local/bin/coven dial-stdio",
    ];
    assert_eq!(called[..2], [plain, own]);
    assert_eq!(
        called[2..4],
        [plain, own].map(|call| format!("{call} --start"))
    );
}

#[test]
fn the_reason_of_a_host_that_is_down_is_whole_in_a_narrow_terminal() {
    if !has_tools(&["script"]) {
        return;
    }
    let hosts = Hosts::started();
    for verb in ["sessions", "stats", "status"] {
        let script = format!("script -qec \"stty cols 50; $0 {verb} -H web1,web2\" /dev/null");
        let shown = hosts.here.shell(&script).out.replace('\r', "");
        let words: Vec<&str> = shown.split_whitespace().collect();
        let reason = "ssh: connect to host web2 port 22: Connection refused";
        assert!(words.join(" ").contains(reason), "{shown}");
        let widest = shown
            .lines()
            .map(|line| line.replace("\x1b[31m", "").len())
            .max();
        assert!(verb != "sessions" || widest <= Some(53), "{shown}");
    }
}

#[test]
fn a_program_can_speak_to_the_daemon_through_dial_stdio() {
    let coven = Coven::start();
    let request = b"GET /health HTTP/1.0\r\n\r\n";
    let ran = coven.cli_with_input(["dial-stdio"], request);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("HTTP/1.0 200"), "{ran:?}");
    assert!(ran.out.contains("coven.daemon.v1"), "{ran:?}");
}

/// OpenSSH's server and client with keys of the test's own. Ends with it.
struct Sshd {
    child: std::process::Child,
    client: String,
}

impl Sshd {
    /// `None`, having said so, where there is no OpenSSH, or it cannot serve this user.
    fn start(hosts: &Hosts) -> Option<Self> {
        let (server, dir) = (Path::new("/usr/sbin/sshd"), hosts.here.work());
        if !server.exists() || !is_root() || !Path::new("/run/sshd").is_dir() {
            println!("skipped: no OpenSSH server to run as root");
            return None;
        }
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", key])
                .current_dir(&dir)
                .status();
            assert!(made.unwrap().success());
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let at = dir.display();
        let (home, path) = (hosts.there.home(), hosts.there.bin());
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\nPidFile none\n\
             SetEnv COVEN_HOME={} PATH={}:/usr/bin:/bin\n",
            home.display(),
            path.display()
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        let mut child = Command::new(server)
            .args(["-D", "-e", "-f"])
            .arg(dir.join("sshd_config"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        read_until(child.stderr.as_mut().unwrap(), "listening on");
        let client = format!(
            "Host web1\n HostName 127.0.0.1\n Port {port}\n User root\n IdentityFile {at}/user\n\
             \x20IdentitiesOnly yes\n UserKnownHostsFile {at}/known\n StrictHostKeyChecking accept-new\n"
        );
        fs::write(dir.join("ssh_config"), client).unwrap();
        let client = format!("exec /usr/bin/ssh -F {at}/ssh_config \"$@\"");
        Some(Self { child, client })
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host that OpenSSH leads to, with coven on its `PATH`, and whether its client shares connections.
fn behind_openssh(client_options: &str) -> Option<(Hosts, Sshd)> {
    let hosts = Hosts::new();
    let sshd = Sshd::start(&hosts)?;
    let config = hosts.here.work().join("ssh_config");
    let text = fs::read_to_string(&config).unwrap() + client_options;
    fs::write(&config, text).unwrap();
    hosts.here.program("ssh", &sshd.client);
    let coven = hosts.here.command([] as [&str; 0]);
    let coven = Path::new(coven.get_program());
    std::os::unix::fs::symlink(coven, hosts.there.bin().join("coven")).unwrap();
    Some((hosts, sshd))
}

#[test]
fn commands_share_a_connection_of_openssh_and_an_interrupt_goes_through_it() {
    // A directory of its own: the path of a socket is short.
    let dir = Coven::new();
    let path = dir.work().join("m");
    let shared = format!(
        " ControlMaster auto\n ControlPath {}\n ControlPersist 60\n",
        path.display()
    );
    let Some((hosts, _sshd)) = behind_openssh(&shared) else {
        return;
    };
    for prompt in ["one", "two"] {
        let ran = hosts.cli(&["run", "hello", prompt]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert!(path.exists(), "the connection is shared");
    assert_interrupt_kills(&hosts);
    let ended = hosts.here.shell("ssh -O exit web1");
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn openssh_leads_to_the_daemon_and_says_which_host_is_down() {
    let Some((hosts, _sshd)) = behind_openssh("") else {
        return;
    };
    let ran = hosts.cli(&["run", "hello", "over ssh"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("you said: over ssh"), "{ran:?}");
    let ran = hosts.here.cli(["-H", "web1,nohost.invalid", "sessions"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("over ssh"), "{ran:?}");
    assert!(
        ran.out.contains("nohost.invalid  -         down"),
        "{ran:?}"
    );
    let mode = fs::metadata(hosts.there.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
