//! Comments that stay where they belong when a file is written again.

use super::*;

/// `before` is what stands in the file, `after` what a program writes; `expected` is that with the comments.
fn check(before: &str, after: &str, expected: &str) {
    assert_eq!(carried(before, after), expected);
    assert_eq!(meaning(expected), meaning(after));
}

const WRITTEN: &str = "\
dashboard: shop
filters:
  dimensions: [country]
tiles:
  - tile: revenue
    metrics: [revenue]
    where: [\"a # b\"]
    sql: |
      select 1 -- # no comment
      # none either
    width: 3
  - tile: orders
    metrics: [orders]
";

#[test]
fn each_comment_stays_with_what_it_is_about() {
    let before = "\
# The shop at a glance.
#
# Ask sales before you change it.

dashboard: shop # its name
filters:
  # what people choose
  dimensions: [country] # and nothing else
tiles:
  # money
  - tile: revenue   # the first

    # without tax
    metrics:
      - revenue # net
    where: [\"a # b\"] # 'quoted # text'
    sql: | # on one table
      select 1 -- # no comment
      # none either
    width: 3
    # height: 2
  # how many
  - tile: orders
    metrics: [orders]
    # to do: returns
# the end
";
    let expected = "\
# The shop at a glance.
#
# Ask sales before you change it.

dashboard: shop  # its name
filters:
  # what people choose
  dimensions: [country]  # and nothing else
tiles:
  # money
  - tile: revenue  # the first
    # without tax
    metrics: [revenue]  # net
    where: [\"a # b\"]  # 'quoted # text'
    sql: |  # on one table
      select 1 -- # no comment
      # none either
    width: 3
    # height: 2
  # how many
  - tile: orders
    metrics: [orders]
    # to do: returns
# the end
";
    check(before, WRITTEN, expected);
    // What was carried once is carried again as it is.
    check(expected, WRITTEN, expected);
    assert_eq!((count(before), count(expected), count(WRITTEN)), (16, 16, 0));
}

#[test]
fn tiles_that_move_take_their_comments_along_and_those_that_go_take_them_away() {
    let before = "\
dashboard: shop
tiles:
  # a
  - tile: a
    # of a
    width: 3
  # b
  - tile: b  # b too
    width: 4
  # c
  - tile: c
";
    let after = "dashboard: shop\ntiles:\n  - tile: c\n  - tile: new\n  - tile: a\n    height: 2\n";
    let expected = "\
dashboard: shop
tiles:
  # c
  - tile: c
  - tile: new
  # a
  # of a
  - tile: a
    height: 2
";
    check(before, after, expected);
}

#[test]
fn texts_with_a_hash_are_no_comments_and_what_cannot_be_read_is_written_as_it_is() {
    for (before, lines) in [
        ("a: 'x # y'\nb: \"x\n  # y\"\nc: x#y\nd: http://x/#y\n", 0),
        ("a: |-\n  # x\n\n   # y\nb: >\n  # z\n# one\n", 1),
        ("a: [1, # one\n  2] # two\n", 2),
        ("a: {\n", 0),
    ] {
        assert_eq!(count(before), lines, "{before}");
    }
    check("a: {\n# x", "a: 1\n", "a: 1\n");
    check("# x\n- 1\n- 2 # two\n", "- 2\n", "- 2  # two\n");
}
