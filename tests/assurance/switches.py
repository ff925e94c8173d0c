"""Puts many changes of a crate's code into one program, each behind a switch.

cargo-mutants says what a change is: a place in a file, and what stands there instead. Here the code
gets both, and a call that says which of them counts (`mutants.py` tells why):

    a - b                  (if crate::switched::on(7) { a + b } else { a - b })
    fn f() -> u8 { x }     fn f() -> u8 { if crate::switched::on(8) { return 0; } x }
    Some(a) if p => ...    Some(a) if !crate::switched::on(9) && (p) => ...

A program runs with one change at most. So the code of a change is the original but for that change,
and only what is left in place has other switches in it. Nothing of the code is moved or removed,
only added to; therefore the additions before a place tell where it is in the result.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

ON = "crate::switched::on"

# The module that a switched crate gets. What is reached is written down at once, as a test may end
# in any way.
MODULE = """
pub mod switched {
    use std::io::Write;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    static CHOSEN: LazyLock<u32> =
        LazyLock::new(|| std::env::var("SWITCH").map_or(0, |n| n.parse().expect("a number")));
    static REACHED: LazyLock<Option<std::ffi::OsString>> =
        LazyLock::new(|| std::env::var_os("SWITCHES_REACHED"));
    static SEEN: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

    pub fn on(number: u32) -> bool {
        if let Some(file) = &*REACHED
            && !SEEN[number as usize].swap(true, Ordering::Relaxed)
        {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
            writeln!(file.expect("the list opens"), "{number}").expect("the list is written");
        }
        *CHOSEN == number
    }
}
"""

# The node of the syntax around each kind of change that is an expression.
EXPRESSIONS = {
    "BinaryOperator": {"binary_expression", "compound_assignment_expr"},
    "UnaryOperator": {"unary_expression"},
    "StructField": {"struct_expression"},
}


@dataclass
class Change:
    """A change as cargo-mutants lists it; the number is that of its switch."""

    number: int
    listed: dict
    outcome: str = ""
    by: str = ""

    @property
    def name(self) -> str:
        return self.listed["name"]

    @property
    def kind(self) -> str:
        return self.listed["genre"]

    @property
    def may_be_opaque(self) -> bool:
        """A body may be replaced by one of another type, which a `return` beside it can't give."""
        function = self.listed["function"]
        return self.kind == "FnValue" and "impl " in function["return_type"]


@dataclass(order=True)
class Addition:
    """Text that comes in at a place; where several do, what encloses more is outside."""

    place: int
    order: tuple
    # Pieces of text, each with the number of the change that it is for, or 0.
    pieces: list = field(compare=False)


@dataclass
class Switched:
    """A file with switches: the bytes of each change, and those that a switch stands around."""

    text: bytes
    pieces: list[tuple[int, int, int]]
    around: list[tuple[int, int, int]]

    def blamed(self, start: int, end: int) -> tuple[set[int], bool]:
        """The changes that may be why there is an error here; true if the bytes are its own."""
        own = {n for s, e, n in self.pieces if s <= start and end <= e}
        if own:
            return own, True
        near = [(e - s, n) for s, e, n in self.around if s <= start and end <= e]
        least = min((size for size, _ in near), default=0)
        return {n for size, n in near if size == least}, False


class Source:
    """A file of the crate, and where its changes are."""

    def __init__(self, path: Path):
        self.text = path.read_bytes()
        self.root = Parser(Language(tree_sitter_rust.language())).parse(self.text).root_node
        self.lines = [0]
        for line in self.text.split(b"\n"):
            self.lines.append(self.lines[-1] + len(line) + 1)

    def bytes_of(self, span: dict) -> tuple[int, int]:
        """A span counts lines and characters from 1."""
        ends = []
        for end in (span["start"], span["end"]):
            start, after = self.lines[end["line"] - 1], self.lines[end["line"]]
            before = self.text[start:after].decode()[: end["column"] - 1]
            ends.append(start + len(before.encode()))
        return ends[0], ends[1]

    def changed(self, change: Change) -> bytes:
        """The file with one change, as cargo-mutants would make it."""
        start, end = self.bytes_of(change.listed["span"])
        return self.text[:start] + change.listed["replacement"].encode() + self.text[end:]

    def enclosing(self, start: int, end: int, kinds: set[str]) -> Node | None:
        """The least node of these kinds around some bytes."""
        node = self.root.descendant_for_byte_range(start, end)
        while node and node.type not in kinds:
            node = node.parent
        return node

    def switched(self, changes: list[Change]) -> tuple[Switched, list[Change]]:
        """The file with switches, and the changes that have no such form."""
        expressions: dict[tuple[int, int], list] = {}
        arms: dict[int, tuple[Node, list]] = {}
        additions, around, others = [], [], []
        for change in changes:
            start, end = self.bytes_of(change.listed["span"])
            if change.kind == "FnValue":
                text = f"if {ON}({change.number}) {{ return {change.listed['replacement']}; }} "
                first = (2, -len(self.text) - 1)
                additions.append(Addition(start, first, [(text, change.number)]))
                around.append((*self.bytes_of(change.listed["function"]["span"]), change.number))
            elif change.kind in EXPRESSIONS:
                node = self.enclosing(start, end, EXPRESSIONS[change.kind])
                if node is None or not self.is_of(node, start, end):
                    others.append(change)
                    continue
                place = (node.start_byte, node.end_byte)
                other = self.text[place[0] : start] + change.listed["replacement"].encode()
                other += self.text[end : place[1]]
                expressions.setdefault(place, []).append((change.number, other.decode()))
            else:
                arm = self.enclosing(start, end, {"match_arm"})
                pattern = arm and arm.child_by_field_name("pattern")
                guard = pattern and pattern.child_by_field_name("condition")
                if pattern is None or (guard and guard.type in ("let_condition", "let_chain")):
                    others.append(change)
                    continue
                arms.setdefault(arm.start_byte, (arm, []))[1].append(change)
        for (start, end), alternatives in expressions.items():
            additions += around_expression(start, end, alternatives)
            around += [(start, end, number) for number, _ in alternatives]
        for arm, of_arm in arms.values():
            additions += at_arm(arm, of_arm)
            match = self.enclosing(arm.start_byte, arm.end_byte, {"match_expression"})
            around += [(match.start_byte, match.end_byte, c.number) for c in of_arm]
        return self.with_additions(additions, around), others

    @staticmethod
    def is_of(node: Node, start: int, end: int) -> bool:
        """True if the change is of the node itself, and not of something within."""
        if node.type == "struct_expression":
            return True
        return any(c.start_byte == start and c.end_byte == end for c in node.children)

    def with_additions(self, additions: list, around: list) -> Switched:
        """Puts them in, and tells where everything is then."""
        text, pieces, at, places = b"", [], 0, []
        for addition in sorted(additions):
            text += self.text[at : addition.place]
            at = addition.place
            for piece, number in addition.pieces:
                start = len(text)
                text += piece.encode()
                if number:
                    pieces.append((start, len(text), number))
            places.append((at, len(text) - at))
        text += self.text[at:]

        def moved(place: int, inclusive: bool) -> int:
            before = [by for p, by in places if p < place or (inclusive and p == place)]
            return place + (before[-1] if before else 0)

        return Switched(text, pieces, [(moved(s, False), moved(e, True), n) for s, e, n in around])


def around_expression(start: int, end: int, alternatives: list) -> list[Addition]:
    """The expression as one of several."""
    before = [("(", 0)]
    for number, other in alternatives:
        before += [(f"if {ON}({number}) {{ {other} }} else ", number)]
    before += [("{ ", 0)]
    return [
        Addition(start, (2, -end, 1), before),
        Addition(end, (1, -start, 0), [(" })", 0)]),
    ]


def at_arm(arm: Node, changes: list[Change]) -> list[Addition]:
    """An arm that is not there, or that is taken always or never, is one with another guard."""
    pattern = arm.child_by_field_name("pattern")
    guard = pattern.child_by_field_name("condition")
    taken = {c.number for c in changes if c.listed["replacement"] == "true"}
    never = [(f"!{ON}({c.number}) && ", c.number) for c in changes if c.number not in taken]
    always = [(f"{ON}({number}) || ", number) for number in sorted(taken)]
    if guard is None:
        text = never[:-1] + [(never[-1][0].removesuffix(" && "), never[-1][1])]
        return [Addition(pattern.end_byte, (1, 0), [(" if ", 0), *text])]
    start, end = guard.start_byte, guard.end_byte
    return [
        Addition(start, (2, -end, 0), [*never, ("(", 0), *always, ("(", 0)]),
        Addition(end, (1, -start, 1), [("))", 0)]),
    ]


def module(count: int) -> str:
    """The code of the module that knows which switch is on."""
    return re.sub(r"\bCOUNT\b", str(count), MODULE)
