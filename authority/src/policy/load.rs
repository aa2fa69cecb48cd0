//! From files to a set of policies that is known to be sound, all or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use cedar_policy::{
    Entities, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Schema,
    ValidationMode, Validator,
};
use miette::Diagnostic;
use signet_evidence::binding::sha256;

use super::actions::{ActionMap, line_of};
use super::decision::PolicyVersion;
use super::evaluate::Evaluator;
use super::problem::{PolicyFault, PolicyLoadError, PolicyProblem};

/// The schema's file name.
pub(super) const SCHEMA: &str = "signet.cedarschema";
/// The entities' file name.
pub(super) const ENTITIES: &str = "entities.json";
/// The action map's file name.
pub(super) const ACTIONS: &str = "actions.toml";
const RULES: &str = "cedar";

/// Texts of a set of policies, by file name.
pub type PolicyFiles = BTreeMap<String, String>;

/// A sound set of action policies: every rule was checked against the schema in strict mode, and
/// every action that a request can be is one that the schema declares.
#[derive(Debug)]
pub struct ActionPolicySet {
    pub(super) evaluator: Evaluator,
    pub(super) actions: ActionMap,
    pub(super) rules: BTreeMap<String, Rule>,
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
    /// Loads `*.cedar`, `signet.cedarschema`, `entities.json` and `actions.toml` from a folder.
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
        let mut problems = Problems(Vec::new());
        let schema = problems.keep(load_schema(files));
        let (policies, rules) = load_rules(files, &mut problems);
        let actions = problems.keep(load_actions(files));
        let (Some(schema), Some(actions)) = (schema, actions) else { return problems.fail() };
        problems.0.extend(validate(&schema, &policies, &rules));
        let Some(entities) = problems.keep(load_entities(files, &schema)) else {
            return problems.fail();
        };
        let evaluator = Evaluator::new(schema, policies, entities);
        problems.0.extend(check_actions(&evaluator, &actions));
        if problems.0.is_empty() {
            Ok(Self { evaluator, actions, rules, version: version_of(files) })
        } else {
            problems.fail()
        }
    }

    /// Names these very texts; recorded with every decision.
    #[must_use]
    pub fn version(&self) -> PolicyVersion {
        self.version
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

fn problem(file: &str, line: Option<usize>, fault: PolicyFault) -> PolicyProblem {
    PolicyProblem { file: file.to_owned(), line, fault }
}

/// The files of a folder that belong to a set; other files are left alone.
pub(super) fn read_folder(folder: &Path) -> Result<PolicyFiles, PolicyLoadError> {
    let shown = folder.display().to_string();
    let failed = |file: &str, error| PolicyLoadError {
        problems: vec![problem(file, None, PolicyFault::Unreadable(error))],
    };
    let mut files = PolicyFiles::new();
    for entry in fs::read_dir(folder).map_err(|error| failed(&shown, error))? {
        let path = entry.map_err(|error| failed(&shown, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if belongs(name) {
            let text = fs::read_to_string(&path).map_err(|error| failed(name, error))?;
            files.insert(name.to_owned(), text);
        }
    }
    Ok(files)
}

fn belongs(name: &str) -> bool {
    [SCHEMA, ENTITIES, ACTIONS].contains(&name) || is_rules(name)
}

fn is_rules(name: &str) -> bool {
    !name.starts_with('.') && Path::new(name).extension().is_some_and(|found| found == RULES)
}

fn version_of(files: &PolicyFiles) -> PolicyVersion {
    let mut bytes = b"signet-policy-v1\0".to_vec();
    for (name, text) in files.iter().filter(|(name, _)| belongs(name)) {
        bytes.extend_from_slice(&sha256(name.as_bytes()));
        bytes.extend_from_slice(&sha256(text.as_bytes()));
    }
    PolicyVersion(sha256(&bytes))
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

fn load_schema(files: &PolicyFiles) -> Result<Schema, Vec<PolicyProblem>> {
    let text = text(files, SCHEMA)?;
    let (schema, _) = Schema::from_cedarschema_str(text).map_err(|error| {
        let line = first_line(text, &error);
        vec![problem(SCHEMA, line, PolicyFault::Schema(Box::new(error)))]
    })?;
    let declared: Vec<String> = schema.entity_types().map(ToString::to_string).collect();
    let groups: Vec<String> =
        schema.action_groups().map(|uid| AsRef::<str>::as_ref(uid.id()).to_owned()).collect();
    let lacks = |names: &[&'static str], found: &[String]| {
        names.iter().find(|name| !found.iter().any(|known| known == *name)).copied()
    };
    let missing = lacks(&["Operator", "Workload", "Device", "Gateway"], &declared)
        .or_else(|| lacks(&["read", "write"], &groups));
    match missing {
        Some(name) => Err(vec![problem(SCHEMA, None, PolicyFault::SchemaLacks(name))]),
        None => Ok(schema),
    }
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
) -> Vec<PolicyProblem> {
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    let at = |id: &PolicyId, fault: PolicyFault| {
        let rule = rules.get(AsRef::<str>::as_ref(id));
        problem(rule.map_or(".", |rule| &rule.file), rule.map(|rule| rule.line), fault)
    };
    let errors = result.validation_errors().map(|error| {
        let (id, source) = (error.policy_id(), Box::new(error.clone()));
        at(id, PolicyFault::Invalid { rule: id.to_string(), source })
    });
    let warnings = result.validation_warnings().map(|warning| {
        let (id, source) = (warning.policy_id(), Box::new(warning.clone()));
        at(id, PolicyFault::Suspicious { rule: id.to_string(), source })
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
    uid("Action", name)
}

/// `kind::"id"`; `kind` is one of the identifiers written in this module.
pub(super) fn uid(kind: &'static str, id: &str) -> EntityUid {
    // The names are constants and valid identifiers; a test goes through every one of them.
    #[allow(clippy::expect_used)]
    let kind = EntityTypeName::from_str(kind).expect("a constant entity type name");
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}
