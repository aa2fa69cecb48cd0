//! From files to a set of policies that is known to be sound, all or nothing.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{
    Entities, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Schema,
    ValidationMode, Validator,
};
use miette::Diagnostic;

use super::actions::{ActionMap, line_of};
use super::decision::PolicyVersion;
use super::evaluate::Evaluator;
use super::files::{
    ACTIONS, ENTITIES, PolicyFiles, SCHEMA, check_bounds, is_rules, is_schema, read_folder,
    version_of,
};
use super::problem::{PolicyFault, PolicyLoadError, PolicyProblem, problem};

/// Stack of the thread that reads a set, in bytes.
const LOADING_STACK: usize = 8 * 1024 * 1024;

/// A sound set of action policies: every rule was checked against the schema in strict mode, and
/// every action that a request can be is one that the schema declares.
#[derive(Debug)]
pub struct ActionPolicySet {
    pub(super) evaluator: Evaluator,
    pub(super) actions: ActionMap,
    pub(super) rules: BTreeMap<String, Rule>,
    pub(super) files: PolicyFiles,
    version: PolicyVersion,
}

/// A rule's place and meaning, for explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// File name within the folder.
    pub file: String,
    /// Line of its `@id`, from 1.
    pub line: usize,
    /// Its `@description`, where it has one.
    pub description: Option<String>,
}

impl ActionPolicySet {
    /// Loads `*.cedar`, `*.cedarschema`, `entities.json` and `actions.toml` from a folder.
    ///
    /// # Errors
    /// [`PolicyLoadError`] with every problem found; nothing takes effect then.
    pub fn load(folder: &Path) -> Result<Self, PolicyLoadError> {
        Self::from_files(&read_folder(folder)?)
    }

    /// The same from texts, as they come from a folder or from the store.
    ///
    /// # Errors
    /// See [`Self::load`].
    pub fn from_files(files: &PolicyFiles) -> Result<Self, PolicyLoadError> {
        check_bounds(files)?;
        // Cedar reads by recursion. On a stack of this size whatever the bounds let through fits, also
        // in a build for debugging; the stacks of those who serve are smaller.
        std::thread::scope(|scope| {
            let loading = std::thread::Builder::new()
                .stack_size(LOADING_STACK)
                .spawn_scoped(scope, || Self::load_bounded(files));
            match loading.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(loaded)) => loaded,
                Ok(Err(_)) => {
                    Err(problem(".", None, PolicyFault::Unreadable(ErrorKind::Other.into())).into())
                }
                Err(error) => Err(problem(".", None, PolicyFault::Unreadable(error)).into()),
            }
        })
    }

    fn load_bounded(files: &PolicyFiles) -> Result<Self, PolicyLoadError> {
        let mut problems = Problems(Vec::new());
        let schema = problems.keep(load_schema(files));
        let (policies, rules) = load_rules(files, &mut problems);
        let actions = problems.keep(load_actions(files));
        let (Some(schema), Some(actions)) = (schema, actions) else { return problems.fail() };
        problems.0.extend(validate(&schema, &policies, &rules, files));
        let Some(entities) = problems.keep(load_entities(files, &schema)) else {
            return problems.fail();
        };
        let evaluator = Evaluator::new(schema, policies, entities, &actions);
        problems.0.extend(check_actions(&evaluator, &actions));
        if problems.0.is_empty() {
            let version = version_of(files);
            Ok(Self { evaluator, actions, rules, files: files.clone(), version })
        } else {
            problems.fail()
        }
    }

    /// Names these very texts; recorded with every decision.
    #[must_use]
    pub fn version(&self) -> PolicyVersion {
        self.version
    }

    /// The texts that it was made of, the table of tests among them.
    #[must_use]
    pub fn files(&self) -> &PolicyFiles {
        &self.files
    }

    /// Every rule by its name.
    #[must_use]
    pub fn rules(&self) -> &BTreeMap<String, Rule> {
        &self.rules
    }
}

struct Problems(Vec<PolicyProblem>);

impl Problems {
    fn keep<T>(&mut self, loaded: Result<T, Vec<PolicyProblem>>) -> Option<T> {
        loaded.map_err(|problems| self.0.extend(problems)).ok()
    }

    fn fail<T>(self) -> Result<T, PolicyLoadError> {
        Err(PolicyLoadError { problems: self.0 })
    }
}

fn text<'a>(files: &'a PolicyFiles, name: &str) -> Result<&'a str, Vec<PolicyProblem>> {
    files.get(name).map(String::as_str).ok_or_else(|| {
        let fault = PolicyFault::Unreadable(std::io::ErrorKind::NotFound.into());
        vec![problem(name, None, fault)]
    })
}

fn first_line(text: &str, error: &dyn Diagnostic) -> Option<usize> {
    error.labels()?.next().map(|label| line_of(text, label.offset()))
}

/// The program's part of the schema and those of the set, as one text: so each can name what another
/// declares.
fn load_schema(files: &PolicyFiles) -> Result<Schema, Vec<PolicyProblem>> {
    let mut whole = SCHEMA.to_owned();
    let mut starts = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| is_schema(name)) {
        whole.push('\n');
        starts.push((whole.len(), name.as_str()));
        whole.push_str(text);
    }
    let (schema, _) = Schema::from_cedarschema_str(&whole).map_err(|error| {
        let offset =
            error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        let place = offset.and_then(|offset| {
            let (start, name) = starts.iter().rev().find(|(start, _)| *start <= offset)?;
            Some((*name, line_of(&whole[*start..], offset - start)))
        });
        // Without a place of its own it is a name that this set declares a second time.
        let name =
            place.map_or_else(|| starts.first().map_or(".", |(_, name)| name), |(name, _)| name);
        let line = place.map(|(_, line)| line);
        vec![problem(name, line, PolicyFault::Schema(Box::new(error)))]
    })?;
    Ok(schema)
}

fn load_rules(files: &PolicyFiles, problems: &mut Problems) -> (PolicySet, BTreeMap<String, Rule>) {
    let mut set = PolicySet::new();
    let mut rules = BTreeMap::new();
    let sources: Vec<_> = files.iter().filter(|(name, _)| is_rules(name)).collect();
    if sources.is_empty() {
        problems.0.push(problem(".", None, PolicyFault::NoRules));
    }
    for (file, text) in sources {
        let parsed = match PolicySet::from_str(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let line = first_line(text, &error);
                problems.0.push(problem(file, line, PolicyFault::Syntax(Box::new(error))));
                continue;
            }
        };
        if parsed.templates().next().is_some() {
            problems.0.push(problem(file, None, PolicyFault::Template));
        }
        for policy in parsed.policies() {
            if let Err(found) = add_rule(&mut set, &mut rules, policy, file, text) {
                problems.0.push(found);
            }
        }
    }
    (set, rules)
}

fn add_rule(
    set: &mut PolicySet,
    rules: &mut BTreeMap<String, Rule>,
    policy: &Policy,
    file: &str,
    text: &str,
) -> Result<(), PolicyProblem> {
    let name = policy.annotation("id").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| problem(file, None, PolicyFault::Unnamed))?;
    let line = text.find(&format!("@id(\"{name}\")")).map_or(1, |offset| line_of(text, offset));
    let duplicate = || problem(file, Some(line), PolicyFault::DuplicateName(name.to_owned()));
    set.add(policy.new_id(PolicyId::new(name))).map_err(|_| duplicate())?;
    let description = policy.annotation("description").map(str::to_owned);
    rules.insert(name.to_owned(), Rule { file: file.to_owned(), line, description });
    Ok(())
}

fn load_actions(files: &PolicyFiles) -> Result<ActionMap, Vec<PolicyProblem>> {
    ActionMap::parse(text(files, ACTIONS)?).map_err(|faults| {
        faults.into_iter().map(|(line, fault)| problem(ACTIONS, line, fault.into())).collect()
    })
}

fn load_entities(files: &PolicyFiles, schema: &Schema) -> Result<Entities, Vec<PolicyProblem>> {
    Entities::from_json_str(text(files, ENTITIES)?, Some(schema))
        .map_err(|error| vec![problem(ENTITIES, None, PolicyFault::Entities(Box::new(error)))])
}

/// Strict validation; its warnings count, since a rule that can never apply is a mistake in a file
/// that decides who may do what.
fn validate(
    schema: &Schema,
    policies: &PolicySet,
    rules: &BTreeMap<String, Rule>,
    files: &PolicyFiles,
) -> Vec<PolicyProblem> {
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    // The line of what is wrong, or of the rule that it is in.
    let at = |id: &PolicyId, found: &dyn Diagnostic, fault: PolicyFault| {
        let Some(rule) = rules.get(AsRef::<str>::as_ref(id)) else {
            return problem(".", None, fault);
        };
        let text = files.get(&rule.file).map_or("", String::as_str);
        problem(&rule.file, first_line(text, found).or(Some(rule.line)), fault)
    };
    let errors = result.validation_errors().map(|error| {
        let (id, source) = (error.policy_id(), Box::new(error.clone()));
        at(id, error, PolicyFault::Invalid { rule: id.to_string(), source })
    });
    let warnings = result.validation_warnings().map(|warning| {
        let (id, source) = (warning.policy_id(), Box::new(warning.clone()));
        at(id, warning, PolicyFault::Suspicious { rule: id.to_string(), source })
    });
    errors.chain(warnings).collect()
}

/// Each entry of the map against the schema: the action exists, its group is its `access`, and a
/// request of it can be put to the evaluator.
fn check_actions(evaluator: &Evaluator, actions: &ActionMap) -> Vec<PolicyProblem> {
    let mut problems = Vec::new();
    for entry in actions.entries() {
        let at = |fault| problem(ACTIONS, Some(entry.line), fault);
        let action = action_uid(&entry.name);
        let Some(groups) = evaluator.groups_of(&action) else {
            problems.push(at(PolicyFault::UnknownAction(entry.name.clone())));
            continue;
        };
        if groups != [entry.access.as_str()] {
            let (action, access) = (entry.name.clone(), entry.access);
            problems.push(at(PolicyFault::AccessDisagrees { action, access }));
        }
        if let Err(source) = evaluator.try_sample(entry) {
            let action = entry.name.clone();
            problems.push(at(PolicyFault::RequestDisagrees { action, source }));
        }
    }
    problems
}

/// `Action::"name"`.
pub(super) fn action_uid(name: &str) -> EntityUid {
    uid(Kind::Action, name)
}

/// Entities that are not named in an action map.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Action,
    Operator,
    Workload,
    Device,
    Gateway,
}

impl Kind {
    /// Cedar reads a name by its whole grammar, and each request has five: so each is read once.
    fn name(self) -> EntityTypeName {
        static NAMES: LazyLock<[EntityTypeName; 5]> = LazyLock::new(|| {
            // These are valid identifiers; a test goes through every one of them.
            #[allow(clippy::expect_used)]
            ["Action", "Operator", "Workload", "Device", "Gateway"]
                .map(|name| EntityTypeName::from_str(name).expect("a constant entity type name"))
        });
        let [action, operator, workload, device, gateway] = &*NAMES;
        let name = match self {
            Self::Action => action,
            Self::Operator => operator,
            Self::Workload => workload,
            Self::Device => device,
            Self::Gateway => gateway,
        };
        name.clone()
    }
}

/// `kind::"id"`.
pub(super) fn uid(kind: Kind, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.name(), EntityId::new(id))
}
