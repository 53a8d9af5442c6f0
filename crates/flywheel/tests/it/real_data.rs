//! The retail template over the files of a real shop (UCI Online Retail).

use crate::house::{House, binary, real_data, text};

#[test]
fn the_retail_template_turns_over_real_files_unchanged() {
    let Some(data) = real_data("online_retail") else { return };
    let house = House::new();
    let project = house.path("uci");
    let made = binary()
        .args(["init", "--template", "retail", "--name", "uci", "--data"])
        .arg(&data)
        .arg(&project)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let run = |arguments: &[&str]| {
        let output = binary().arg("-C").arg(&project).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", text(&output.stderr));
        text(&output.stdout)
    };
    let span = "2010-12-01..2010-12-08";
    run(&["turn", "--replay", span]);
    let numbers = "select (select count(*) from raw.order_lines) as landed,
        (select count(distinct invoice_no) from raw.order_lines) as invoices,
        (select count(*) from mart.sales) as sales, (select count(distinct customer_id) from mart.sales) as customers";
    // Counted from the files with another tool.
    let expected = "landed,invoices,sales,customers\n19632,905,12755,506\n";
    let answer = run(&["sql", numbers, "--output", "csv"]);
    assert_eq!(answer, expected);
    assert!(run(&["turn", "--replay", span]).is_empty(), "a second replay has nothing to do");
    assert_eq!(run(&["sql", numbers, "--output", "csv"]), answer, "and adds nothing");
}
