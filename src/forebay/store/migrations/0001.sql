-- One append-only log and one table of current objects, written together. Never edited; changes come as 0002.sql.
CREATE TABLE log (
  revision INTEGER PRIMARY KEY,
  grp TEXT NOT NULL, plural TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  verb TEXT NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL
);
CREATE TABLE current (
  grp TEXT NOT NULL, plural TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (grp, plural, namespace, name)
) WITHOUT ROWID;
