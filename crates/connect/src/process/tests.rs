//! What a program can do to us, and what becomes of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

fn program(script: &str, config: &Value, set: impl Fn(&mut ProgramSettings<'_>)) -> Program {
    let command = ["sh", "-c", script].map(str::to_owned);
    let env = BTreeMap::new();
    let mut settings = ProgramSettings {
        command: &command,
        config,
        env: &env,
        timeout: None,
        memory: None,
        line_bytes_max: None,
    };
    set(&mut settings);
    settings.program(&std::env::temp_dir()).unwrap()
}

async fn ask(program: &Program) -> Result<String> {
    program.ask(Vec::new(), PrivateFiles::new().unwrap()).await
}

#[tokio::test]
async fn a_program_that_fails_is_quoted_without_its_secrets() {
    let script = "echo one; echo 'trace of things' >&2; echo 'cannot log in with hunter2-secret' >&2; exit 3";
    let error = ask(&program(script, &json!({ "password": "hunter2-secret" }), |_| {})).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.message(), "sh ended with exit code 3: cannot log in with ***");
    assert!(error.report().contains("trace of things"));
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_program_that_hangs_is_stopped_with_all_its_children() {
    let script = "tail -f /dev/null & echo $!; wait";
    let program = program(script, &json!({}), |settings| settings.timeout = Some("300ms"));
    let mut running = program.start(Vec::new(), PrivateFiles::new().unwrap()).unwrap();
    let mut line = Vec::new();
    running.line(&mut line).await.unwrap();
    let child: i32 = String::from_utf8(line.clone()).unwrap().parse().unwrap();
    let error = running.line(&mut line).await.unwrap_err();
    assert!(error.message().contains("wrote nothing for 0.3 s"), "{error}");
    assert!(gone(child).await);
}

#[tokio::test]
async fn a_dropped_program_is_gone() {
    let program = program("tail -f /dev/null & echo $!; wait", &json!({}), |_| {});
    let mut running = program.start(Vec::new(), PrivateFiles::new().unwrap()).unwrap();
    let mut line = Vec::new();
    running.line(&mut line).await.unwrap();
    drop(running);
    assert!(gone(String::from_utf8(line).unwrap().parse().unwrap()).await);
}

/// Whether a process ends soon; one that waits for its parent to look has ended.
async fn gone(process: i32) -> bool {
    let mut clock = tokio::time::interval(std::time::Duration::from_millis(10));
    for _ in 0..500 {
        clock.tick().await;
        match std::fs::read_to_string(format!("/proc/{process}/stat")) {
            Err(_) => return true,
            Ok(stat) if stat.contains(") Z ") => return true,
            Ok(_) => {}
        }
    }
    false
}

#[tokio::test]
async fn talk_on_stderr_is_no_silence_and_no_flood_stops_the_output() {
    let flood = "i=0; while [ $i -lt 3000 ]; do echo \"line $i of a long and boring story of what the program does\" >&2; i=$((i+1)); done; echo done";
    assert_eq!(ask(&program(flood, &json!({}), |_| {})).await.unwrap(), "done\n");
    let failing = format!("{flood}; exit 1");
    let error = ask(&program(&failing, &json!({}), |_| {})).await.unwrap_err();
    assert!(error.report().contains("line 2999 of"), "{error:?}");
    assert!(error.report().len() < 3_000);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_that_takes_too_much_memory_is_stopped() {
    // Without a line end, tail keeps everything.
    let hog = program("cat /dev/zero | tail -n 1", &json!({}), |s| s.memory = Some("64MiB"));
    let error = ask(&hog).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.message().contains("more than 64 MiB"), "{error}");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let command = ["tap-nowhere".to_owned()];
    let error = ask(&program("", &json!({}), |_| {})).await.map(drop);
    assert!(error.is_ok());
    let env = BTreeMap::new();
    let settings = ProgramSettings {
        command: &command,
        config: &Value::Null,
        env: &env,
        timeout: None,
        memory: None,
        line_bytes_max: None,
    };
    let error = ask(&settings.program(&std::env::temp_dir()).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("Install tap-nowhere"), "{error:?}");
}

#[tokio::test]
async fn a_program_sees_its_own_variables_and_private_files_only() {
    let env = BTreeMap::from([("TOKEN".to_owned(), "abc".to_owned())]);
    let script = "ls -l \"$0\" | cut -c1-10; cat \"$0\"; env | cut -d= -f1 | sort";
    let command = ["sh", "-c", script].map(str::to_owned);
    let settings = ProgramSettings {
        command: &command,
        config: &Value::Null,
        env: &env,
        timeout: None,
        memory: None,
        line_bytes_max: None,
    };
    let files = PrivateFiles::new().unwrap();
    let path = files.write("config.json", "{}\n").unwrap();
    let program = settings.program(&std::env::temp_dir()).unwrap();
    let said = program.ask(vec![path.clone()], files).await.unwrap();
    assert!(said.starts_with("-rw-------\n{}\n"), "{said}");
    assert!(said.contains("\nTOKEN\n") && !said.contains("CARGO"), "{said}");
    assert!(!Path::new(&path).exists());
}
