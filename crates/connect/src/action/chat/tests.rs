//! What robots are sent, and what their answers lead to.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::action::ActionEntry;

fn build(settings: Value) -> Result<Box<dyn Action>> {
    ActionEntry::named("chat")
        .unwrap()
        .build(settings, &ActionContext { base_dir: "".into(), ..Default::default() })
}

fn delivery() -> Delivery {
    Delivery {
        key: "k".to_owned(),
        payload: json!({"title": "nightly failed", "text": "第一行\n\"zwei\""}),
        group: "alerts".to_owned(),
    }
}

/// Posts one text to a robot that answers so; what it received, and the outcome.
async fn posted(form: &str, more: Value, answer: &str) -> (String, Value, Outcome) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?key=k1", listener.local_addr().unwrap());
    let mut settings = json!({"form": form, "url": url, "allow_private": true});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let action = build(settings).unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 8_192];
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                break;
            }
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    };
    let batch = [delivery()];
    let (request, outcomes) = tokio::join!(serve, action.deliver(&batch));
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    (
        head.lines().next().unwrap().to_owned(),
        serde_json::from_str(body).unwrap(),
        outcomes.into_iter().next().unwrap(),
    )
}

#[tokio::test]
async fn each_robot_gets_the_body_it_reads() {
    let text = "nightly failed\n第一行\n\"zwei\"";
    let (line, body, outcome) = posted("feishu", json!({}), r#"{"code":0,"msg":"success"}"#).await;
    assert_eq!(line, "POST /hook?key=k1 HTTP/1.1");
    assert_eq!(body, json!({"msg_type": "text", "content": {"text": text}}));
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");

    let more = json!({"prefix": "[flywheel] ", "secret": "SEC000test"});
    let (line, body, outcome) = posted("dingtalk", more, r#"{"errcode":0,"errmsg":"ok"}"#).await;
    assert!(line.contains("key=k1&timestamp=") && line.contains("&sign="), "{line}");
    let expected = json!({"msgtype": "text", "text": {"content": format!("[flywheel] {text}")}});
    assert_eq!(body, expected);
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");

    let (_, body, outcome) = posted("wecom", json!({}), r#"{"errcode":0,"errmsg":"ok"}"#).await;
    assert_eq!(body, json!({"msgtype": "text", "text": {"content": text}}));
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_of_200_that_says_no_is_not_delivered() {
    for (form, answer, later) in [
        ("feishu", r#"{"code":19021,"msg":"sign match fail"}"#, false),
        ("feishu", r#"{"code":11232,"msg":"too many"}"#, true),
        ("dingtalk", r#"{"errcode":310000,"errmsg":"keywords not in content"}"#, false),
        ("dingtalk", r#"{"errcode":130101,"errmsg":"send too fast"}"#, true),
        ("wecom", r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#, false),
        ("wecom", r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#, true),
        ("wecom", "<html>a page</html>", false),
    ] {
        let (_, _, outcome) = posted(form, json!({}), answer).await;
        match outcome {
            Outcome::Retry { after, .. } => assert!(later && after.is_some(), "{answer}"),
            Outcome::Rejected { reason } => assert!(!later && !reason.is_empty(), "{answer}"),
            other => panic!("{answer}: {other:?}"),
        }
    }
}

#[test]
fn signatures_are_those_of_the_makers() {
    // Made by Python's hmac by the words of both makers' manuals.
    let secret = Secret::new("SEC000test");
    let feishu = feishu_signature(&secret, "1599360473");
    assert_eq!(feishu, "2W+8omNKPPFlQuLtay2McGK4ti80754NHiXCyg8ea7o=");
    let dingtalk = dingtalk_signature(&secret, "1599360473000");
    assert_eq!(dingtalk, "uQwfkZjnb5PJccJFf2cnynm7oHCC1qrXJ0ikxblVGpU=");
}

#[test]
fn long_texts_are_cut_between_signs_and_wrong_settings_are_told() {
    let long = shortened("汉".repeat(1_000), 2_048);
    assert!(long.len() <= 2_048 && long.ends_with('…') && long.starts_with('汉'));
    assert_eq!(shortened("short".to_owned(), 2_048), "short");
    let url = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k";
    for (settings, said) in [
        (json!({"form": "wecom", "url": url, "secret": "x"}), "sign"),
        (json!({"form": "icq", "url": url}), "icq"),
        (json!({"form": "wecom", "url": "http://127.0.0.1/x"}), "private"),
        (json!({"form": "wecom", "url": "ftp://a/x"}), "scheme"),
    ] {
        let error = build(settings).err().unwrap();
        assert!(error.report().contains(said), "{}", error.report());
    }
}

#[test]
fn a_report_is_cut_where_a_line_ends() {
    assert_eq!(whole_lines("a\nb".to_owned(), 10), "a\nb");
    assert_eq!(whole_lines("销售 12\n订单 3456".to_owned(), 20), "销售 12\n…");
    assert_eq!(whole_lines("销售额 123456".to_owned(), 12), "销售额…");
    let long = "Revenue 12,345\n".repeat(500);
    let cut = whole_lines(long, Form::Wecom.text_bytes_max());
    assert!(cut.len() <= 2_048 && cut.ends_with("Revenue 12,345\n…"), "{cut}");
}
