//! The built binary against an agent that says what the test wants.

use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::fstat;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketType, accept,
    bind, listen, recvmsg, send, socket,
};
use serde_json::{Value, json};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A folder of its own, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weft-cni-{}-{serial}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("cni.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn listening(path: &Path) -> OwnedFd {
    let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    listener
}

/// Answers one question; what was asked, and the inode of the namespace that came along.
fn agent(listener: OwnedFd, answer: &'static str) -> JoinHandle<(Value, u64)> {
    thread::spawn(move || {
        let connection = accept(&listener).unwrap();
        let mut packet = vec![0; 8192];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &connection,
            &mut [std::io::IoSliceMut::new(&mut packet)],
            &mut control,
            RecvFlags::empty(),
        );
        let length = received.unwrap().bytes;
        let inode = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next().map(|fd| fstat(&fd).unwrap().st_ino),
            _ => None,
        });
        send(&connection, answer.as_bytes(), SendFlags::NOSIGNAL).unwrap();
        (serde_json::from_slice(&packet[..length]).unwrap(), inode.unwrap())
    })
}

struct Done {
    succeeded: bool,
    answer: Value,
    took: Duration,
}

fn call(command: &str, arguments: &str, input: &[u8]) -> Done {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_weft-cni"))
        .env_clear()
        .envs([
            ("CNI_COMMAND", command),
            ("CNI_NETNS", "/proc/self/ns/net"),
            ("CNI_ARGS", arguments),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The plugin may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Done {
        succeeded: output.status.success(),
        answer: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        took: started.elapsed(),
    }
}

fn previous() -> Value {
    // Keys in an order of their own and some that only others know: all must come out as they went in.
    json!({
        "cniVersion": "1.0.0",
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1400}],
        "interfaces": [{"sandbox": "/x", "name": "eth0", "socketPath": "/y"}],
        "ips": [{"interface": 0, "address": "10.0.0.5/24"}],
        "dns": {},
        "x-vendor": 18446744073709551615u64,
    })
}

fn configuration(socket: &Path, wait_seconds: u64) -> Vec<u8> {
    let entry = json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "weft-cni", "socket": socket, "waitSeconds": wait_seconds,
        "prevResult": previous(),
    });
    entry.to_string().into_bytes()
}

const POD: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1";

#[test]
fn a_captured_pod_starts_with_the_result_of_the_plugins_before() {
    for standing in [r#"{"state": "captured"}"#, r#"{"state": "outside"}"#] {
        let folder = Folder::new();
        let asked = agent(listening(&folder.socket()), standing);
        let done = call("ADD", POD, &configuration(&folder.socket(), 5));
        assert!(done.succeeded);
        assert_eq!(done.answer.to_string(), previous().to_string());
        let (question, inode) = asked.join().unwrap();
        let expected = json!({
            "command": "add", "name": "web", "namespace": "shop", "uid": "u-1", "addresses": ["10.0.0.5"],
            "version": 1, "waitSeconds": 5,
        });
        assert_eq!(question, expected);
        assert_eq!(inode, rustix::fs::stat("/proc/self/ns/net").unwrap().st_ino);
    }
}

#[test]
fn a_pod_that_cannot_be_captured_is_to_be_tried_again_and_the_reason_said() {
    let folder = Folder::new();
    let asked = agent(
        listening(&folder.socket()),
        r#"{"state": "waiting", "reason": "no node proxy is connected"}"#,
    );
    let done = call("ADD", POD, &configuration(&folder.socket(), 5));
    assert!(!done.succeeded);
    assert_eq!(done.answer["code"], 11);
    assert_eq!(done.answer["cniVersion"], "1.0.0");
    let text = done.answer["msg"].as_str().unwrap();
    assert!(text.contains("no node proxy is connected"), "{text}");
    asked.join().unwrap();
}

#[test]
fn without_an_agent_a_pod_waits_and_is_told_so_at_once() {
    let folder = Folder::new();
    drop(listening(&folder.socket())); // a socket that nobody listens at, as an agent that died leaves it
    for socket in [folder.socket(), folder.0.join("none.sock")] {
        let done = call("ADD", POD, &configuration(&socket, 20));
        assert!(!done.succeeded);
        assert_eq!(done.answer["code"], 11);
        assert!(
            done.answer["msg"]
                .as_str()
                .unwrap()
                .contains("no node agent listens there")
        );
        assert!(done.took < Duration::from_secs(5));
    }
}

#[test]
fn an_agent_that_is_stuck_is_waited_for_only_so_long() {
    let folder = Folder::new();
    let _silent = listening(&folder.socket());
    let done = call("ADD", POD, &configuration(&folder.socket(), 1));
    assert!(!done.succeeded);
    assert_eq!(done.answer["code"], 11);
    assert!(
        done.took >= Duration::from_secs(2) && done.took < Duration::from_secs(10),
        "{:?}",
        done.took
    );
}

#[test]
fn exempt_namespaces_and_what_is_no_pod_are_not_asked_for() {
    let folder = Folder::new();
    for arguments in [
        "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns",
        "K8S_POD_NAMESPACE=istio-system;K8S_POD_NAME=n",
        "",
    ] {
        let done = call("ADD", arguments, &configuration(&folder.socket(), 20));
        assert!(done.succeeded, "{arguments}");
        assert_eq!(done.answer, previous());
    }
}

#[test]
fn nothing_keeps_a_pod_from_ending() {
    let folder = Folder::new();
    let long = vec![b' '; 2 << 20];
    for command in ["DEL", "GC"] {
        for input in [&configuration(&folder.socket(), 20)[..], b"", b"{", b"\xff\xfe", &long] {
            for arguments in [POD, "", "K8S_POD_NAME"] {
                assert!(call(command, arguments, input).succeeded);
            }
        }
    }
}

#[test]
fn a_check_tells_a_pod_that_is_not_captured_and_does_not_need_the_agent() {
    let folder = Folder::new();
    assert!(call("CHECK", POD, &configuration(&folder.socket(), 1)).succeeded);
    let asked = agent(
        listening(&folder.socket()),
        r#"{"state": "waiting", "reason": "15001 is taken"}"#,
    );
    let done = call("CHECK", POD, &configuration(&folder.socket(), 1));
    assert!(!done.succeeded);
    assert!(done.answer["msg"].as_str().unwrap().contains("15001 is taken"));
    assert_eq!(asked.join().unwrap().0["command"], "check");
}

#[test]
fn versions_and_readiness_are_told_without_an_agent() {
    let done = call("VERSION", "", br#"{"cniVersion": "0.4.0"}"#);
    assert_eq!(
        done.answer,
        json!({"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]})
    );
    assert!(call("STATUS", "", br#"{"cniVersion": "1.1.0"}"#).succeeded);
    assert_eq!(call("STATUS", "", b"{").answer["code"], 6);
}

#[test]
fn what_cannot_be_used_is_refused_with_the_specifications_code() {
    let folder = Folder::new();
    let fine = configuration(&folder.socket(), 1);
    for (command, arguments, input, code) in [
        ("ADD", POD, &b"{"[..], 6),
        ("ADD", POD, br#"{"cniVersion": "0.2.0"}"#, 1),
        ("ADD", POD, br#"{"cniVersion": "1.0.0"}"#, 7),
        ("ADD", "K8S_POD_NAME=web", &fine, 4),
        ("RUN", POD, &fine, 4),
        ("", "", &fine, 4),
    ] {
        let done = call(command, arguments, input);
        assert!(!done.succeeded);
        assert_eq!(done.answer["code"], code, "{command} {arguments}: {}", done.answer);
    }
}
