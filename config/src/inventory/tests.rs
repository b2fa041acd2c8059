use super::*;

const TWO: &str = "nodes:
  - name: lb-1
    fulcrum: ssh root@10.0.0.11   fulcrum
  - {name: lb-2, fulcrum: [ip, netns, exec, \"a b\", fulcrum], config: /etc/other.yaml}
";

fn refused(text: &str) -> String {
    Inventory::parse(text, "nodes.yaml").unwrap_err().to_string()
}

#[test]
fn a_command_is_words_with_spaces_between_or_a_list() {
    let inventory = Inventory::parse(TWO, "nodes.yaml").unwrap();
    assert_eq!(inventory.nodes[0].fulcrum, ["ssh", "root@10.0.0.11", "fulcrum"]);
    assert_eq!(inventory.nodes[0].config, None);
    assert_eq!(inventory.place("lb-2").unwrap().fulcrum, ["ip", "netns", "exec", "a b", "fulcrum"]);
    assert_eq!(inventory.place("lb-2").unwrap().config, Some(PathBuf::from("/etc/other.yaml")));
    assert_eq!(inventory.place("lb-3"), None);
}

#[test]
fn two_nodes_are_there_always_and_more_may_stand_in_for_a_while() {
    let surge = |node: &str| TWO.replace(&format!("name: {node}"), &format!("name: {node}, surge: true"));
    let third = format!("{TWO}  - {{name: lb-3, fulcrum: run, surge: true}}\n");
    let inventory = Inventory::parse(&third, "nodes.yaml").unwrap();
    assert_eq!(inventory.nodes.iter().map(|place| place.surge).collect::<Vec<_>>(), [false, false, true]);
    let one = refused(&surge("lb-2"));
    assert!(one.contains("there are 1 nodes") && one.contains("without `surge`"), "{one}");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let doubled = refused(&TWO.replace("lb-2", "lb-1"));
    assert!(
        doubled.contains("node `lb-1` is there twice") && doubled.contains("nodes.yaml:4:12"),
        "{doubled}"
    );
    let unknown = refused(&TWO.replace("    fulcrum", "    fulcum"));
    assert!(unknown.contains("did you mean `fulcrum`?") && unknown.contains("nodes.yaml:3:5"), "{unknown}");
    assert!(unknown.contains("`fulcrum` is missing"), "{unknown}");
    for command in ["\"\"", "[]", "[\"\"]", "ssh 'a b'", "ssh \"a\\\\ b\""] {
        let text = TWO.replace("ssh root@10.0.0.11   fulcrum", command);
        let refused = refused(&text);
        assert!(
            refused.contains("this is no command") && refused.contains("nodes.yaml:3:"),
            "{command}: {refused}"
        );
    }
    let name = refused(&TWO.replace("lb-2", "\"-rf /\""));
    assert!(name.contains("is not a name"), "{name}");
    let one = refused("nodes: [{name: lb-1, fulcrum: fulcrum}]");
    assert!(one.contains("there are 1 nodes") && one.contains("list 2 to 64"), "{one}");
    for text in
        ["", "nodes: {}", "nodes: [", "nodes: [a]", "&x nodes: []", "nodes: [{name: [], fulcrum: {}}]"]
    {
        assert!(Inventory::parse(text, "nodes.yaml").is_err(), "{text}");
    }
}

#[test]
fn a_text_that_would_need_a_shell_is_no_command() {
    assert_eq!(words(" ./recreate-vm  {node} ").unwrap(), ["./recreate-vm", "{node}"]);
    assert!(words("  ").is_err() && words("sh -c 'rm x'").is_err() && words("a\\ b").is_err());
}
