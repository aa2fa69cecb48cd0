//! Puts all the mutants of a file into its source, each behind a question to `mutant::pick`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Range;

use proc_macro2::LineColumn;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::list::{Genre, Mutant, Place};

/// The source with the mutants of a file in it.
#[derive(Default)]
pub(crate) struct Woven {
    pub(crate) source: String,
    /// Where each mutant's own text stands: an error in it is the mutant's.
    pub(crate) arms: Vec<(Range<usize>, usize)>,
    /// Where a place with mutants stands: an error there and in no arm is of the weaving.
    pub(crate) nodes: Vec<(Range<usize>, Vec<usize>)>,
    /// Mutants that nothing of the source was found for.
    pub(crate) missed: Vec<usize>,
}

/// What is done at a place.
enum Change {
    /// Before the first statement of a function: give up with a value.
    Return,
    /// Before the `=>` of an arm without a condition: a condition.
    Condition,
    /// In place of an expression: a choice.
    Choice,
    /// Nothing in its place.
    Leave,
}

struct Node {
    range: Range<usize>,
    change: Change,
    /// Each mutant and its text.
    variants: Vec<(usize, String)>,
}

/// Puts `mutants`, by their numbers, into `source`. `pick` is the path of the function that chooses.
/// What it calls is no longer `const`, but for the functions named in `constant`.
pub(crate) fn weave(
    source: &str,
    mutants: &[(usize, &Mutant)],
    pick: &str,
    constant: &BTreeSet<String>,
) -> Result<Woven, syn::Error> {
    let file = syn::parse_file(source)?;
    let lines = Lines::new(source);
    let mut at: HashMap<(usize, usize), Vec<(usize, &Mutant)>> = HashMap::new();
    for &(number, mutant) in mutants {
        let Place { line, column } = mutant.span.start;
        at.entry((line, column - 1)).or_default().push((number, mutant));
    }
    let mut finder = Finder { source, lines: &lines, constant, at, nodes: Vec::new() };
    finder.bodies();
    finder.visit_file(&file);
    let Finder { mut nodes, at, .. } = finder;
    let missed = at.into_values().flatten().map(|(number, _)| number).collect();
    nodes.sort_by_key(|node| {
        let choice = matches!(node.change, Change::Choice);
        (node.range.start, choice, usize::MAX - node.range.end)
    });
    let mut writer = Writer { source, pick, nodes: &nodes, next: 0, woven: Woven::default() };
    writer.write(0..source.len());
    Ok(Woven { missed, ..writer.woven })
}

/// Lines and columns to bytes.
struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(source: &'a str) -> Self {
        let mut starts = vec![0, 0];
        starts.extend(source.match_indices('\n').map(|(at, _)| at + 1));
        Self { source, starts }
    }

    fn byte(&self, line: usize, column: usize) -> usize {
        let start = self.starts[line];
        let rest = &self.source[start..];
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }

    fn range(&self, span: proc_macro2::Span) -> Range<usize> {
        let byte = |at: LineColumn| self.byte(at.line, at.column);
        byte(span.start())..byte(span.end())
    }
}

struct Finder<'a> {
    source: &'a str,
    lines: &'a Lines<'a>,
    constant: &'a BTreeSet<String>,
    /// Mutants that still want a place, by line and column.
    at: HashMap<(usize, usize), Vec<(usize, &'a Mutant)>>,
    nodes: Vec<Node>,
}

impl<'a> Finder<'a> {
    /// Takes the mutants of `genre` that begin at `span`.
    fn take(&mut self, span: proc_macro2::Span, genre: Genre) -> Vec<(usize, &'a Mutant)> {
        let key = (span.start().line, span.start().column);
        let Some(here) = self.at.remove(&key) else { return Vec::new() };
        let (taken, left): (Vec<_>, Vec<_>) =
            here.into_iter().partition(|(_, mutant)| mutant.genre == genre);
        if !left.is_empty() {
            self.at.insert(key, left);
        }
        taken
    }

    /// Functions whose whole body is replaced: their places need no syntax.
    fn bodies(&mut self) {
        let mut bodies: BTreeMap<usize, Vec<(usize, String)>> = BTreeMap::new();
        for (&(line, column), here) in &mut self.at {
            here.retain(|(number, mutant)| {
                let whole = mutant.genre == Genre::FnValue && !mutant.returns_hidden_type();
                if whole {
                    let body = bodies.entry(self.lines.byte(line, column)).or_default();
                    body.push((*number, mutant.replacement.clone()));
                }
                !whole
            });
        }
        self.nodes.extend(bodies.into_iter().map(|(at, variants)| Node {
            range: at..at,
            change: Change::Return,
            variants,
        }));
    }

    fn choice(&mut self, range: Range<usize>, variants: Vec<(usize, String)>) {
        if !variants.is_empty() {
            self.nodes.push(Node { range, change: Change::Choice, variants });
        }
    }

    /// A choice is made when the program runs.
    fn at_run_time(&mut self, signature: &syn::Signature) {
        if let Some(constness) = &signature.constness
            && !self.constant.contains(&signature.ident.to_string())
        {
            let range = self.lines.range(constness.span());
            self.nodes.push(Node { range, change: Change::Leave, variants: Vec::new() });
        }
    }

    /// The text of `whole` with `part` replaced.
    fn with(&self, whole: &Range<usize>, part: &Range<usize>, by: &str) -> String {
        [&self.source[whole.start..part.start], by, &self.source[part.end..whole.end]].concat()
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_signature(&mut self, node: &'ast syn::Signature) {
        self.at_run_time(node);
        visit::visit_signature(self, node);
    }

    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        if !binds(&node.left) && !binds(&node.right) {
            let (whole, operator) =
                (self.lines.range(node.span()), self.lines.range(node.op.span()));
            let taken = self.take(node.op.span(), Genre::BinaryOperator);
            let variants = taken.into_iter().map(|(number, mutant)| {
                (number, self.with(&whole, &operator, &mutant.replacement))
            });
            let variants = variants.collect();
            self.choice(whole, variants);
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        let taken = self.take(node.op.span(), Genre::UnaryOperator);
        let (whole, operand) = (self.lines.range(node.span()), self.lines.range(node.expr.span()));
        let variants =
            taken.iter().map(|(number, _)| (*number, self.source[operand.clone()].into()));
        let variants = variants.collect();
        self.choice(whole, variants);
        visit::visit_expr_unary(self, node);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        let gone = self.take(node.span(), Genre::MatchArm);
        let mut variants: Vec<_> =
            gone.iter().map(|(number, _)| (*number, "false".to_owned())).collect();
        if let Some((_, guard)) = &node.guard {
            let guards = self.take(guard.span(), Genre::MatchArmGuard);
            variants.extend(guards.iter().map(|(at, mutant)| (*at, mutant.replacement.clone())));
            self.choice(self.lines.range(guard.span()), variants);
        } else if !variants.is_empty() {
            let at = self.lines.range(node.fat_arrow_token.span()).start;
            self.nodes.push(Node { range: at..at, change: Change::Condition, variants });
        }
        visit::visit_arm(self, node);
    }
}

/// Whether the expression is, or joins, a `let` of a condition, which may stand in nothing else.
fn binds(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(inner) => binds(&inner.left) || binds(&inner.right),
        _ => false,
    }
}

struct Writer<'a> {
    source: &'a str,
    pick: &'a str,
    nodes: &'a [Node],
    next: usize,
    woven: Woven,
}

impl Writer<'_> {
    /// Writes `range` of the source with every place in it.
    fn write(&mut self, range: Range<usize>) {
        let mut from = range.start;
        while let Some(node) = self.nodes.get(self.next).filter(|node| node.range.end <= range.end)
        {
            self.next += 1;
            self.woven.source.push_str(&self.source[from..node.range.start]);
            self.place(node);
            from = node.range.end;
        }
        self.woven.source.push_str(&self.source[from..range.end]);
    }

    fn place(&mut self, node: &Node) {
        let start = self.woven.source.len();
        let numbers: Vec<_> = node.variants.iter().map(|(number, _)| *number).collect();
        let pick = format!("{}(&{numbers:?})", self.pick);
        match node.change {
            Change::Leave => return,
            Change::Condition => self.push(&format!("if {pick} == 0 ")),
            Change::Return => {
                self.push(&format!("match {pick} {{ 0 => (), "));
                self.arms(node, "return ");
                self.push("}\n");
            }
            Change::Choice => {
                self.push(&format!("(match {pick} {{ 0 => ("));
                self.write(node.range.clone());
                self.push("), ");
                self.arms(node, "");
                self.push("})");
            }
        }
        self.woven.nodes.push((start..self.woven.source.len(), numbers));
    }

    fn push(&mut self, text: &str) {
        self.woven.source.push_str(text);
    }

    fn arms(&mut self, node: &Node, before: &str) {
        for (index, (number, text)) in node.variants.iter().enumerate() {
            let start = self.woven.source.len();
            let label =
                if index + 1 == node.variants.len() { "_".into() } else { (index + 1).to_string() };
            let _ = write!(self.woven.source, "{label} => ({before}{text}), ");
            self.woven.arms.push((start..self.woven.source.len(), *number));
        }
    }
}
