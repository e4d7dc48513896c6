//! The edge to the node agent: one question, one answer, over a seqpacket socket.
//!
//! The pod's network namespace goes along as a descriptor, not as a path: the agent may live in
//! another mount namespace, and a path may be another namespace's by the time it is opened.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with,
};
use serde_json::{Value, json};

use crate::failure::Failure;

/// The agent answers in time by itself; this much later it is taken to be stuck.
const GRACE: Duration = Duration::from_secs(1);
const LONGEST_ANSWER: usize = 4096;
const PROTOCOL: u32 = 1;

/// What is asked of the agent.
#[derive(Debug)]
pub struct Question<'a> {
    pub socket: &'a Path,
    pub wait: Duration,
    pub netns: &'a str,
    pub body: Value,
}

/// Where the agent says the pod stands.
#[derive(Debug, PartialEq)]
pub enum Standing {
    Captured,
    /// It does not belong to the mesh.
    Outside,
    Waiting(String),
    Refused(String),
}

/// `Failure::Later` when no agent answers in time.
pub fn ask(question: &Question) -> Result<Standing, Failure> {
    let netns = File::open(question.netns)
        .map_err(|error| Failure::Parameter(format!("CNI_NETNS {:?}: {error}", question.netns)))?;
    let mut body = question.body.clone();
    body["version"] = json!(PROTOCOL);
    body["waitSeconds"] = json!(question.wait.as_secs());
    let away = |errno: Errno| Failure::Later(absence(question.socket, errno));
    let socket = connected(question).map_err(away)?;
    send(&socket, &body, &netns).map_err(away)?;
    let answer = receive(&socket).map_err(away)?;
    standing(&answer)
}

fn connected(question: &Question) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for side in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, side, Some(question.wait + GRACE))?;
    }
    connect(&socket, &SocketAddrUnix::new(question.socket)?)?;
    Ok(socket)
}

fn send(socket: &OwnedFd, body: &Value, netns: &File) -> Result<(), Errno> {
    let descriptors = [netns.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = body.to_string();
    sendmsg(
        socket,
        &[IoSlice::new(text.as_bytes())],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut answer = vec![0; LONGEST_ANSWER];
    let mut control = RecvAncillaryBuffer::default();
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut answer)],
        &mut control,
        RecvFlags::empty(),
    )?;
    if received.bytes == 0 {
        return Err(Errno::CONNRESET);
    }
    answer.truncate(received.bytes);
    Ok(answer)
}

fn absence(socket: &Path, errno: Errno) -> String {
    let what = match errno {
        Errno::NOENT | Errno::CONNREFUSED => "no node agent listens there",
        Errno::AGAIN | Errno::TIMEDOUT => "the node agent does not answer",
        Errno::CONNRESET | Errno::PIPE => "the node agent ended before it answered",
        _ => "the node agent cannot be asked",
    };
    format!(
        "{}: {what} ({errno}); pods of the mesh start once it runs, see the DaemonSet weft-node in istio-system",
        socket.display()
    )
}

fn standing(answer: &[u8]) -> Result<Standing, Failure> {
    let strange = || Failure::Later("the node agent's answer cannot be read; is it of another version?".to_owned());
    let answer: Value = serde_json::from_slice(answer).map_err(|_| strange())?;
    let reason = || answer["reason"].as_str().unwrap_or_default().to_owned();
    match answer["state"].as_str() {
        Some("captured") => Ok(Standing::Captured),
        Some("outside") => Ok(Standing::Outside),
        Some("waiting") => Ok(Standing::Waiting(reason())),
        Some("refused") => Ok(Standing::Refused(reason())),
        _ => Err(strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(standing(br#"{"state": "captured"}"#), Ok(Standing::Captured));
        assert_eq!(standing(br#"{"state": "outside"}"#), Ok(Standing::Outside));
        let waiting = Standing::Waiting("no node proxy".to_owned());
        assert_eq!(
            standing(br#"{"state": "waiting", "reason": "no node proxy"}"#),
            Ok(waiting)
        );
        let refused = Standing::Refused("host".to_owned());
        assert_eq!(standing(br#"{"state": "refused", "reason": "host"}"#), Ok(refused));
    }

    #[test]
    fn an_answer_that_is_not_understood_lets_no_pod_start() {
        for answer in ["", "[]", "{}", r#"{"state": "fine"}"#, "\u{fffd}"] {
            assert!(
                matches!(standing(answer.as_bytes()), Err(Failure::Later(_))),
                "{answer}"
            );
        }
    }
}
