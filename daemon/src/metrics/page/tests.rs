use super::*;

#[test]
fn a_page_has_its_families_in_order_and_only_those_with_a_series() {
    let mut page = Page::default();
    let later = page.counter("b_total", "Later.", &["z", "a"]);
    page.gauge("c", "Empty.", &["a"]);
    page.value("a", "First.", 0.5);
    later.with_label_values(&["one", "two"]).set(3.0);
    later.with_label_values(&["\"\\\n", ""]).set(4.0);
    assert_eq!(
        page.text(),
        "# HELP a First.\n# TYPE a gauge\na 0.5\n# HELP b_total Later.\n# TYPE b_total counter\n\
         b_total{a=\"two\",z=\"one\"} 3\nb_total{a=\"\",z=\"\\\"\\\\\\n\"} 4\n"
    );
}
