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

#[test]
fn a_demo_trades_as_a_real_shop_and_says_that_its_customers_are_simulated() {
    let Some(data) = real_data("online_retail") else { return };
    let house = House::new();
    let output = binary()
        .args(["demo", "--no-serve", "--days", "1", "--like"])
        .arg(&data)
        .arg("--dir")
        .arg(house.path("alike"))
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    // Counted and fitted from the files with another tool.
    for figure in [
        "It trades as 19776 orders of 4334 customers",
        "customers and products are simulated, and none of them is of that shop",
        "lines of an order  1 + 13.0, spread 0.93",
        "prices             2.07 at the median, spread 1.03",
        "popularity         spread 1.07",
        "cancelled          17.3 % of the orders",
    ] {
        assert!(told.contains(figure), "{figure} in {told}");
    }
    let answer = binary()
        .arg("-C")
        .arg(house.path("alike"))
        .args(["sql", "select count(*) > 10000 as many, count(distinct stock_code) < 200 as ours from raw.order_lines", "--output", "csv"])
        .output()
        .unwrap();
    assert_eq!(text(&answer.stdout), "many,ours\ntrue,true\n", "{}", text(&answer.stderr));
}
