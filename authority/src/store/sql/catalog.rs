//! What tables a database has, read from the database itself: a backup forgets none.

use sqlx::Row as _;

use super::database::{Raw, in_time};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Bool,
    Text,
    Bytes,
}

pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Numbered by the database where a row does not say otherwise.
    pub(super) numbered: bool,
}

pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Tables that its rows refer to.
    parents: Vec<String>,
}

const SQLITE_TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table'
    AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_sqlx%' ESCAPE '!' ORDER BY name";
const SQLITE_COLUMNS: &str = "SELECT name, type, 0 FROM pragma_table_info($1) ORDER BY cid";
const SQLITE_PARENTS: &str = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1)";

const POSTGRES_TABLES: &str = "SELECT table_name::text FROM information_schema.tables
    WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
    AND table_name NOT LIKE '!_sqlx%' ESCAPE '!' ORDER BY table_name";
const POSTGRES_COLUMNS: &str = "SELECT column_name::text, data_type::text,
    (is_identity = 'YES')::int::bigint FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position";
const POSTGRES_PARENTS: &str = "SELECT DISTINCT confrelid::regclass::text FROM pg_constraint
    WHERE contype = 'f' AND conrelid = to_regclass($1)";

/// All tables, each after those that it refers to.
pub(super) async fn tables(raw: &mut Raw) -> Result<Vec<Table>, sqlx::Error> {
    let [tables, columns, parents] = match raw {
        Raw::Sqlite(_) => [SQLITE_TABLES, SQLITE_COLUMNS, SQLITE_PARENTS],
        Raw::Postgres(_) => [POSTGRES_TABLES, POSTGRES_COLUMNS, POSTGRES_PARENTS],
    };
    let mut found = Vec::new();
    for row in rows(raw, tables, None).await? {
        let name = row.0;
        let columns = rows(raw, columns, Some(&name)).await?;
        let columns = columns.into_iter().map(|(name, kind, numbered)| {
            Ok(Column { name, kind: kind_of(&kind)?, numbered: numbered == 1 })
        });
        let columns = columns.collect::<Result<_, sqlx::Error>>()?;
        let parents = rows(raw, parents, Some(&name)).await?;
        let parents = parents.into_iter().map(|row| row.0).filter(|parent| *parent != name);
        found.push(Table { parents: parents.collect(), name, columns });
    }
    Ok(in_order(found))
}

type Found = (String, String, i64);

/// Rows of up to three columns.
async fn rows(
    raw: &mut Raw,
    sql: &'static str,
    of: Option<&str>,
) -> Result<Vec<Found>, sqlx::Error> {
    macro_rules! read {
        ($rows:expr) => {
            $rows
                .iter()
                .map(|row| {
                    let kind = if row.len() > 1 { row.try_get(1)? } else { String::new() };
                    let numbered = if row.len() > 2 { row.try_get(2)? } else { 0 };
                    Ok((row.try_get(0)?, kind, numbered))
                })
                .collect()
        };
    }
    match raw {
        Raw::Sqlite(connection) => {
            let query = sqlx::query::<sqlx::Sqlite>(sql);
            let query = if let Some(of) = of { query.bind(of) } else { query };
            read!(query.fetch_all(&mut **connection).await?)
        }
        Raw::Postgres(connection) => {
            let query = sqlx::query::<sqlx::Postgres>(sql);
            let query = if let Some(of) = of { query.bind(of) } else { query };
            read!(in_time(query.fetch_all(&mut **connection)).await?)
        }
    }
}

fn kind_of(name: &str) -> Result<Kind, sqlx::Error> {
    match name.to_ascii_lowercase().as_str() {
        "integer" | "bigint" => Ok(Kind::Integer),
        "boolean" => Ok(Kind::Bool),
        "text" => Ok(Kind::Text),
        "blob" | "bytea" => Ok(Kind::Bytes),
        _ => Err(sqlx::Error::TypeNotFound { type_name: name.to_owned() }),
    }
}

/// Parents first. Tables that refer to each other in a circle keep the order they have.
fn in_order(mut left: Vec<Table>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let known = |parent: &String| ordered.iter().any(|table| table.name == *parent);
        let next = left.iter().position(|table| table.parents.iter().all(known)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}
