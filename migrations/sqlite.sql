-- What the migrations up to 0004 make of an empty SQLite database. Printed by `make schema`.

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE user (
	id VARCHAR(64) NOT NULL,
	username VARCHAR(200) NOT NULL,
	username_key VARCHAR(800) NOT NULL,
	name VARCHAR(200),
	email VARCHAR(254),
	email_key VARCHAR(1000),
	search_key TEXT NOT NULL,
	password_hash VARCHAR(200),
	permission_names JSON NOT NULL,
	departments JSON NOT NULL,
	active BOOLEAN NOT NULL,
	created_at DATETIME NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (username_key),
	UNIQUE (email_key)
);

CREATE TABLE access_token (
	id VARCHAR(64) NOT NULL,
	user_id VARCHAR(64) NOT NULL,
	name VARCHAR(200) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	permission_names JSON,
	created_at DATETIME NOT NULL,
	last_used_at DATETIME,
	expires_at DATETIME,
	PRIMARY KEY (id),
	FOREIGN KEY(user_id) REFERENCES user (id) ON DELETE CASCADE,
	UNIQUE (digest)
);

CREATE TABLE email_inbox (
	id VARCHAR(64) NOT NULL,
	name VARCHAR(200) NOT NULL,
	name_key VARCHAR(800) NOT NULL,
	email VARCHAR(254) NOT NULL,
	email_key VARCHAR(1000) NOT NULL,
	search_key TEXT NOT NULL,
	active BOOLEAN NOT NULL,
	description VARCHAR(2000),
	sender_info VARCHAR(200),
	department VARCHAR(200),
	smtp_server VARCHAR(253) NOT NULL,
	smtp_port INTEGER NOT NULL,
	smtp_username VARCHAR(1000) NOT NULL,
	smtp_password BLOB NOT NULL,
	smtp_secure BOOLEAN NOT NULL,
	imap_server VARCHAR(253) NOT NULL,
	imap_port INTEGER NOT NULL,
	imap_username VARCHAR(1000) NOT NULL,
	imap_password BLOB NOT NULL,
	imap_secure BOOLEAN NOT NULL,
	imap_max_retries INTEGER NOT NULL,
	version INTEGER NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	created_by_id VARCHAR(64), smtp_tls_fingerprint VARCHAR(64), smtp_oauth2 JSON, smtp_refresh_token BLOB, smtp_client_secret BLOB, imap_tls_fingerprint VARCHAR(64), imap_oauth2 JSON, imap_refresh_token BLOB, imap_client_secret BLOB, smtp_consent_id VARCHAR(32), imap_consent_id VARCHAR(32),
	PRIMARY KEY (id),
	UNIQUE (email_key),
	FOREIGN KEY(created_by_id) REFERENCES user (id) ON DELETE SET NULL
);

CREATE TABLE email_inbox_change (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	inbox_id VARCHAR(64) NOT NULL,
	kind VARCHAR(16) NOT NULL,
	department VARCHAR(200),
	previous_department VARCHAR(200),
	changed_at DATETIME NOT NULL,
	changed_by_id VARCHAR(64)
);

CREATE TABLE encryption_key (
	id VARCHAR(16) NOT NULL,
	check_value BLOB NOT NULL,
	created_at DATETIME NOT NULL,
	PRIMARY KEY (id)
);

CREATE VIRTUAL TABLE email_inbox_search_grams
    USING fts5(search_key, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1');

CREATE TABLE email_inbox_search (number INTEGER PRIMARY KEY, row_id VARCHAR(64) NOT NULL UNIQUE);

CREATE VIRTUAL TABLE email_inbox_search_terms USING fts5vocab(email_inbox_search_grams, instance);

CREATE VIRTUAL TABLE user_search_grams
    USING fts5(search_key, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1');

CREATE TABLE user_search (number INTEGER PRIMARY KEY, row_id VARCHAR(64) NOT NULL UNIQUE);

CREATE VIRTUAL TABLE user_search_terms USING fts5vocab(user_search_grams, instance);

CREATE TABLE lease (
	id VARCHAR(64) NOT NULL,
	holder VARCHAR(64) NOT NULL,
	ends_at DATETIME NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_access_token_expires_at ON access_token (expires_at);

CREATE INDEX ix_access_token_user_id ON access_token (user_id);

CREATE INDEX ix_email_inbox_change_changed_at ON email_inbox_change (changed_at);

CREATE INDEX ix_email_inbox_created_at ON email_inbox (created_at, id);

CREATE INDEX ix_email_inbox_created_by_id ON email_inbox (created_by_id);

CREATE INDEX ix_email_inbox_department ON email_inbox (department, name_key, id, active);

CREATE INDEX ix_email_inbox_imap_consent_id ON email_inbox (imap_consent_id) WHERE imap_consent_id IS NOT NULL;

CREATE INDEX ix_email_inbox_inactive ON email_inbox (name_key, id, department) WHERE active IS 0;

CREATE INDEX ix_email_inbox_search_by_name ON email_inbox (name_key, id, search_key);

CREATE INDEX ix_email_inbox_smtp_consent_id ON email_inbox (smtp_consent_id) WHERE smtp_consent_id IS NOT NULL;

CREATE INDEX ix_email_inbox_updated_at ON email_inbox (updated_at, id);

CREATE TRIGGER email_inbox_search_delete AFTER DELETE ON "email_inbox" BEGIN
    INSERT INTO email_inbox_search_grams (email_inbox_search_grams, rowid, search_key)
    SELECT 'delete', number, old.search_key || char(10, 10) FROM email_inbox_search WHERE row_id = old.id
;
        DELETE FROM email_inbox_search WHERE row_id = old.id;
    END;

CREATE TRIGGER email_inbox_search_insert AFTER INSERT ON "email_inbox" BEGIN
        INSERT INTO email_inbox_search (row_id) VALUES (new.id);
    INSERT INTO email_inbox_search_grams (rowid, search_key)
    SELECT number, search_key || char(10, 10) FROM email_inbox_search JOIN "email_inbox" ON id = row_id
 WHERE row_id = new.id;
    END;

CREATE TRIGGER email_inbox_search_update AFTER UPDATE OF id, search_key ON "email_inbox"
    WHEN old.id <> new.id OR old.search_key <> new.search_key BEGIN
    INSERT INTO email_inbox_search_grams (email_inbox_search_grams, rowid, search_key)
    SELECT 'delete', number, old.search_key || char(10, 10) FROM email_inbox_search WHERE row_id = old.id
;
        UPDATE email_inbox_search SET row_id = new.id WHERE row_id = old.id;
    INSERT INTO email_inbox_search_grams (rowid, search_key)
    SELECT number, search_key || char(10, 10) FROM email_inbox_search JOIN "email_inbox" ON id = row_id
 WHERE row_id = new.id;
    END;

CREATE TRIGGER user_search_delete AFTER DELETE ON "user" BEGIN
    INSERT INTO user_search_grams (user_search_grams, rowid, search_key)
    SELECT 'delete', number, old.search_key || char(10, 10) FROM user_search WHERE row_id = old.id
;
        DELETE FROM user_search WHERE row_id = old.id;
    END;

CREATE TRIGGER user_search_insert AFTER INSERT ON "user" BEGIN
        INSERT INTO user_search (row_id) VALUES (new.id);
    INSERT INTO user_search_grams (rowid, search_key)
    SELECT number, search_key || char(10, 10) FROM user_search JOIN "user" ON id = row_id
 WHERE row_id = new.id;
    END;

CREATE TRIGGER user_search_update AFTER UPDATE OF id, search_key ON "user"
    WHEN old.id <> new.id OR old.search_key <> new.search_key BEGIN
    INSERT INTO user_search_grams (user_search_grams, rowid, search_key)
    SELECT 'delete', number, old.search_key || char(10, 10) FROM user_search WHERE row_id = old.id
;
        UPDATE user_search SET row_id = new.id WHERE row_id = old.id;
    INSERT INTO user_search_grams (rowid, search_key)
    SELECT number, search_key || char(10, 10) FROM user_search JOIN "user" ON id = row_id
 WHERE row_id = new.id;
    END;
