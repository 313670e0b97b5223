//! The schema: the same in every database, made once, and refused where it is not ours.

use std::collections::BTreeMap;

use nauth::config::settings::Database;
use nauth::store::db::{Dialect, On, sql};
use nauth::store::{Db, StoreError, migrations};

use crate::databases::{Fresh, NOW, on_every_database};
use crate::people::ada;

on_every_database! {
    async fn an_empty_database_gets_every_step_once(fresh: &Fresh) {
        let db = fresh.open().await;

        let first = migrations::apply(&db, NOW).await.unwrap();
        let second = migrations::apply(&db, NOW).await.unwrap();

        assert!(first.len() >= 4 && second.is_empty(), "{first:?} {second:?}");
        let status = migrations::status(&db).await.unwrap();
        assert!(status.pending.is_empty());
        assert!(status.applied.iter().all(|(.., at)| *at == NOW));
    }

    async fn several_nodes_may_start_at_once(fresh: &Fresh) {
        let nodes: Vec<_> = (0..4)
            .map(|_| {
                let settings = fresh.settings.clone();
                tokio::spawn(async move {
                    let db = Db::open(&settings).await.unwrap();
                    let applied = migrations::apply(&db, NOW).await.unwrap();
                    db.close().await;
                    applied.len()
                })
            })
            .collect();
        let mut applied = 0;
        for node in nodes {
            applied += node.await.unwrap();
        }

        let status = migrations::status(&fresh.open().await).await.unwrap();
        assert_eq!(applied, status.applied.len());
        assert!(status.pending.is_empty());
    }

    async fn a_newer_schema_a_changed_step_and_a_broken_one_are_refused(fresh: &Fresh) {
        let db = fresh.open().await;
        migrations::apply(&db, NOW).await.unwrap();

        for (spoil, repair, complaint) in [
            (
                "INSERT INTO nauth_migrations (version, name, applied_at) VALUES (9999, 'future', 1)",
                "DELETE FROM nauth_migrations WHERE version = 9999",
                "run a newer nauth",
            ),
            (
                "UPDATE nauth_migrations SET applied_at = 0 WHERE version = 2",
                "UPDATE nauth_migrations SET applied_at = 1 WHERE version = 2",
                "broke off half way",
            ),
            (
                "UPDATE nauth_migrations SET checksum = 'x' WHERE version = 2",
                "UPDATE nauth_migrations SET checksum = NULL WHERE version = 2",
                "another text",
            ),
        ] {
            sql(spoil).execute(&mut On::Db(&db)).await.unwrap();
            for refused in [migrations::status(&db).await.map(drop), migrations::apply(&db, NOW).await.map(drop)] {
                let refused = refused.unwrap_err();
                assert!(matches!(refused, StoreError::Schema(_)) && refused.to_string().contains(complaint), "{refused}");
            }
            sql(repair).execute(&mut On::Db(&db)).await.unwrap();
            migrations::status(&db).await.unwrap();
        }
    }

    async fn tables_of_something_else_are_left_alone(fresh: &Fresh) {
        let db = fresh.open().await;
        sql("CREATE TABLE nauth_invoices (id BIGINT)").execute(&mut On::Db(&db)).await.unwrap();

        let refused = migrations::apply(&db, NOW).await.unwrap_err();

        assert!(refused.to_string().contains("`nauth_invoices`"), "{refused}");
        assert_eq!(tables(&db).await, ["nauth_invoices"]);
    }

    async fn two_installations_share_a_database_under_two_prefixes(fresh: &Fresh) {
        let first = fresh.store().await;
        let settings = Database { table_prefix: "two_".to_owned(), ..fresh.settings.clone() };
        let db = Db::open(&settings).await.unwrap();
        if db.dialect() == Dialect::Sqlite {
            // A file is one installation's.
            assert!(migrations::apply(&db, NOW).await.is_err());
            return;
        }

        migrations::apply(&db, NOW).await.unwrap();
        let second = nauth::store::Store::new(db);
        let user = ada(&second).await;

        assert!(second.users().by_id(user.id).await.unwrap().is_some());
        assert!(first.users().by_id(user.id).await.unwrap().is_none());
    }

    async fn the_schema_is_that_of_the_others(fresh: &Fresh) {
        let reference = Fresh::of(crate::databases::Kind::Sqlite).await.unwrap();
        let (ours, theirs) = (fresh.store().await, reference.store().await);

        let found = columns(ours.db()).await;
        assert_eq!(found, columns(theirs.db()).await);
        let mut copied = nauth::store::copy::columns();
        copied.sort();
        let stays = ["nauth_migrations.", "nauth_transient."];
        let is_copied = |name: &&String| !stays.iter().any(|table| name.starts_with(table));
        assert_eq!(copied, found.keys().filter(is_copied).cloned().collect::<Vec<_>>());
        assert_eq!(indexes(ours.db()).await, indexes(theirs.db()).await);
        assert_eq!(foreign_keys(ours.db()).await, foreign_keys(theirs.db()).await);
    }
}

async fn tables(db: &Db) -> Vec<String> {
    let text = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        }
        Dialect::Postgres => {
            "SELECT tablename AS name FROM pg_catalog.pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
        }
        Dialect::MariaDb => {
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name"
        }
    };
    texts(db, text, &["name"]).await.into_iter().map(|row| row.concat()).collect()
}

/// `table.column` → its kind and whether it may be null.
async fn columns(db: &Db) -> BTreeMap<String, (String, String)> {
    let text = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name AS t, c.name AS c, LOWER(c.type) AS k, \
             CASE WHEN c.\"notnull\" = 1 OR c.pk > 0 THEN 'NO' ELSE 'YES' END AS n \
             FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
        }
        Dialect::Postgres => {
            "SELECT table_name AS t, column_name AS c, data_type AS k, is_nullable AS n \
             FROM information_schema.columns WHERE table_schema = current_schema()"
        }
        Dialect::MariaDb => {
            "SELECT table_name AS t, column_name AS c, data_type AS k, is_nullable AS n \
             FROM information_schema.columns WHERE table_schema = DATABASE()"
        }
    };
    let kind = |kind: &str| match kind {
        "varchar" | "mediumtext" => "text".to_owned(),
        other => other.to_owned(),
    };
    let rows = texts(db, text, &["t", "c", "k", "n"]).await;
    rows.into_iter().map(|row| (format!("{}.{}", row[0], row[1]), (kind(&row[2]), row[3].clone()))).collect()
}

/// `table (columns)` → whether it is unique. An index of part of a table is one by the columns that tell the part.
async fn indexes(db: &Db) -> BTreeMap<String, bool> {
    let text = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name AS t, (SELECT group_concat(c.name, ', ') FROM pragma_index_info(i.name) c) AS c, \
             CASE WHEN i.\"unique\" = 1 THEN 'u' ELSE 'i' END AS u, \
             CASE WHEN i.partial = 1 THEN (SELECT sql FROM sqlite_master WHERE name = i.name) END AS p \
             FROM sqlite_master m, pragma_index_list(m.name) i WHERE m.type = 'table'"
        }
        Dialect::Postgres => {
            "SELECT CAST(x.indrelid AS regclass)::text AS t, (SELECT string_agg(a.attname, ', ' ORDER BY k.n) \
             FROM unnest(x.indkey) WITH ORDINALITY AS k (attnum, n) \
             JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum) AS c, \
             CASE WHEN x.indisunique THEN 'u' ELSE 'i' END AS u, \
             CASE WHEN x.indpred IS NOT NULL THEN pg_get_indexdef(x.indexrelid) END AS p \
             FROM pg_index x JOIN pg_class r ON r.oid = x.indrelid WHERE CAST(r.relnamespace AS regnamespace)::text = current_schema()"
        }
        Dialect::MariaDb => {
            "SELECT table_name AS t, GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', ') AS c, \
             CASE WHEN MAX(non_unique) = 0 THEN 'u' ELSE 'i' END AS u, NULL AS p \
             FROM information_schema.statistics WHERE table_schema = DATABASE() GROUP BY table_name, index_name"
        }
    };
    let mut indexes = BTreeMap::new();
    for row in texts(db, text, &["t", "c", "u", "p"]).await {
        let part = row[3].split_once("WHERE ").map(|(_, part)| part.trim_matches(['(', ')']));
        // One without the nulls of its own column is the same index, only smaller.
        let leading = part.and_then(|part| part.strip_suffix(" IS NULL")).map(|told_by| format!("{told_by}, "));
        let leading = leading.unwrap_or_default();
        indexes.insert(format!("{} ({leading}{})", row[0], row[1]), row[2] == "u");
    }
    // A number is its own index in SQLite.
    indexes.retain(|name, _| !["(id)", "(number)", "(version)"].iter().any(|key| name.ends_with(key)));
    indexes
}

/// `table.column → table.column, what happens when it goes`.
async fn foreign_keys(db: &Db) -> Vec<String> {
    let text = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name || '.' || f.\"from\" || ' ' || f.\"table\" || '.' || f.\"to\" || ' ' || f.on_delete AS f \
             FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'"
        }
        Dialect::Postgres => {
            "SELECT CAST(c.conrelid AS regclass)::text || '.' || a.attname || ' ' || CAST(c.confrelid AS regclass)::text \
             || '.' || b.attname || ' ' || CASE c.confdeltype WHEN 'c' THEN 'CASCADE' ELSE 'other' END AS f \
             FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] \
             JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1] \
             WHERE c.contype = 'f' AND CAST(c.connamespace AS regnamespace)::text = current_schema()"
        }
        Dialect::MariaDb => {
            "SELECT CONCAT(k.table_name, '.', k.column_name, ' ', k.referenced_table_name, '.', \
             k.referenced_column_name, ' ', r.delete_rule) AS f FROM information_schema.key_column_usage k \
             JOIN information_schema.referential_constraints r ON r.constraint_schema = k.constraint_schema \
             AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name \
             WHERE k.table_schema = DATABASE() AND k.referenced_table_name IS NOT NULL"
        }
    };
    let mut keys: Vec<String> = texts(db, text, &["f"]).await.into_iter().map(|row| row.concat()).collect();
    keys.sort();
    keys
}

async fn texts(db: &Db, text: &'static str, columns: &[&'static str]) -> Vec<Vec<String>> {
    let rows = sql(text).fetch_all(&mut On::Db(db)).await.unwrap();
    let read = |row: &nauth::store::db::Row| {
        columns.iter().map(|column| row.opt_text(column).unwrap().unwrap_or_default()).collect()
    };
    rows.iter().map(read).collect()
}
