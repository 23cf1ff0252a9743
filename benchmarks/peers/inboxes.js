// What all the peers of Node do with the data, and how: the same tables and pragmas as the product's, authentication,
// encryption, and a change in the log with every write, in its transaction. Knows neither GraphQL nor HTTP.
import { createCipheriv, hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { env } from 'node:process';
import Database from 'better-sqlite3';
import { Refused, validated } from './inputs.js';

const MANAGE = 'manage-email-inbox';
const PAGE = 50;
const MAX_PAGE = 100;
const ID_ALPHABET = '23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz';

const now = () => new Date().toISOString();
const folded = (value) => value.normalize('NFKC').toLowerCase();
const digest = (token) => hash('sha256', token, 'base64');

// ---------------------------------------------------------------------------------------------------------- database

const folder = env.EMAIL_INBOX_DATA_DIR;
const database = new Database(join(folder, 'email-inbox.sqlite3'));
for (const pragma of ['journal_mode = WAL', 'synchronous = FULL', 'foreign_keys = ON']) database.pragma(pragma);

database.exec(`
  CREATE TABLE IF NOT EXISTS user (
    id TEXT PRIMARY KEY, username TEXT NOT NULL UNIQUE, permission_names TEXT NOT NULL, active INTEGER NOT NULL
  );
  CREATE TABLE IF NOT EXISTS access_token (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    digest TEXT NOT NULL UNIQUE, permission_names TEXT, expires_at TEXT
  );
  CREATE INDEX IF NOT EXISTS ix_access_token_user_id ON access_token (user_id);
  CREATE TABLE IF NOT EXISTS email_inbox (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, name_key TEXT NOT NULL,
    email TEXT NOT NULL, email_key TEXT NOT NULL UNIQUE, active INTEGER NOT NULL,
    description TEXT, sender_info TEXT, department TEXT,
    smtp_server TEXT NOT NULL, smtp_port INTEGER NOT NULL, smtp_username TEXT NOT NULL,
    smtp_password BLOB NOT NULL, smtp_secure INTEGER NOT NULL,
    imap_server TEXT NOT NULL, imap_port INTEGER NOT NULL, imap_username TEXT NOT NULL,
    imap_password BLOB NOT NULL, imap_secure INTEGER NOT NULL, imap_max_retries INTEGER NOT NULL,
    version INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    created_by_id TEXT REFERENCES user (id) ON DELETE SET NULL
  );
  CREATE INDEX IF NOT EXISTS ix_email_inbox_name ON email_inbox (name_key, id);
  CREATE TABLE IF NOT EXISTS email_inbox_change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, inbox_id TEXT NOT NULL, kind TEXT NOT NULL,
    department TEXT, previous_department TEXT, changed_at TEXT NOT NULL, changed_by_id TEXT
  );
`);

database
  .prepare('INSERT OR IGNORE INTO user VALUES (?, ?, ?, 1)')
  .run(env.EMAIL_INBOX_ADMIN_USER_ID, 'admin', JSON.stringify([MANAGE]));
database
  .prepare('INSERT OR IGNORE INTO access_token VALUES (?, ?, ?, NULL, NULL)')
  .run('first', env.EMAIL_INBOX_ADMIN_USER_ID, digest(env.EMAIL_INBOX_ADMIN_TOKEN));

/** Whether the database answers. */
export const ready = () => database.prepare('SELECT 1').get() !== undefined;

// ---------------------------------------------------------------------------------------- authentication, encryption

const withUser = database.prepare(`
  SELECT user.id, user.permission_names AS permissions, access_token.permission_names AS narrowed
  FROM access_token JOIN user ON user.id = access_token.user_id
  WHERE access_token.digest = ? AND (expires_at IS NULL OR expires_at > ?) AND user.active
`);

/** The caller who may manage inboxes; null: nobody such. */
export function authenticated(headers) {
  const found = withUser.get(digest(headers['x-auth-token'] ?? ''), now());
  if (!found || !same(headers['x-user-id'] ?? '', found.id)) return null;
  const may = (names) => JSON.parse(names).includes(MANAGE);
  return may(found.permissions) && (found.narrowed === null || may(found.narrowed)) ? found : null;
}

function same(given, stored) {
  const [one, other] = [Buffer.from(given), Buffer.from(stored)];
  return one.length === other.length && timingSafeEqual(one, other);
}

const key = loadKey(join(folder, 'secret.key'));
const keyId = hash('sha256', key, 'buffer').subarray(0, 8);

function loadKey(path) {
  if (!existsSync(path)) writeFileSync(path, randomBytes(32), { mode: 0o600 });
  return readFileSync(path);
}

/** AES-256-GCM, bound to where the value is stored. */
function encrypted(value, inboxId, column) {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(`email_inbox\0${inboxId}\0${column}`));
  return Buffer.concat([keyId, nonce, cipher.update(value, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

function randomId() {
  return Array.from(randomBytes(17), (byte) => ID_ALPHABET[byte % ID_ALPHABET.length]).join('');
}

// ------------------------------------------------------------------------------------------------------------ inboxes

const shown = `
  SELECT id, name, name_key, email, email_key, active, description, sender_info, department,
    smtp_server, smtp_port, smtp_username, smtp_secure, length(smtp_password) > 0 AS smtp_has_password,
    imap_server, imap_port, imap_username, imap_secure, length(imap_password) > 0 AS imap_has_password,
    imap_max_retries, version, created_at, updated_at
  FROM email_inbox
`;
const byId = database.prepare(`${shown} WHERE id = ?`);
const firstPage = database.prepare(`${shown} ORDER BY name_key, id LIMIT ?`);
const laterPage = database.prepare(`${shown} WHERE (name_key, id) > (?, ?) ORDER BY name_key, id LIMIT ?`);
const addChange = database.prepare(
  'INSERT INTO email_inbox_change VALUES (NULL, @id, @kind, @department, @previous, @at, @by)',
);

/** Statements by their text, each prepared once. */
const statements = new Map();

function prepared(text) {
  let statement = statements.get(text);
  if (!statement) statements.set(text, (statement = database.prepare(text)));
  return statement;
}

/** The inbox with this id, or null. */
export function emailInbox(id) {
  const row = byId.get(id);
  return row ? inboxOf(row) : null;
}

/** A page of the inboxes by name. */
export function emailInboxes(first, after) {
  const size = Math.min(first ?? PAGE, MAX_PAGE);
  const rows = after ? laterPage.all(...positionOf(after), size + 1) : firstPage.all(size + 1);
  const page = rows.slice(0, size);
  return {
    nodes: page.map(inboxOf),
    pageInfo: { hasNextPage: rows.length > size, endCursor: page.length ? cursorOf(page[page.length - 1]) : null },
  };
}

/** Creates the inbox, or replaces the one with the id of the input. Throws Refused. */
export function setEmailInbox(caller, input) {
  const config = validated(input);
  return write(() => {
    const stored = config.id ? byId.get(config.id) : undefined;
    requirePasswords(config, stored);
    return stored ? [changed(caller, stored, config), false] : [created(caller, config), true];
  });
}

/** Changes the fields that are given. Throws Refused. */
export function updateEmailInbox(caller, input) {
  return write(() => {
    const stored = byId.get(input.id);
    if (!stored) throw new Refused([{ code: 'NOT_FOUND', message: 'No inbox has this id.', field: ['input', 'id'] }]);
    const config = validated(merged(inboxOf(stored), input));
    requirePasswords(config, stored);
    return changed(caller, stored, config);
  });
}

const transaction = database.transaction((work) => work());

/** Runs the work in one transaction, which is on disk when this returns. */
function write(work) {
  try {
    return transaction.immediate(work);
  } catch (error) {
    if (error.code !== 'SQLITE_CONSTRAINT_UNIQUE') throw error;
    throw Refused.because('TAKEN', 'belongs to another inbox already', 'input', 'email');
  }
}

function created(caller, config) {
  const id = config.id ?? randomId();
  const at = now();
  const row = { ...columnsOf(config, id), id, version: 1, created_at: at, updated_at: at, created_by_id: caller.id };
  const names = Object.keys(row);
  prepared(`INSERT INTO email_inbox (${names}) VALUES (${names.map((name) => `@${name}`)})`).run(row);
  addChange.run({ id, kind: 'CREATED', department: row.department, previous: row.department, at, by: caller.id });
  return inboxOf({ ...row, smtp_has_password: 1, imap_has_password: 1 });
}

/** Writes only the columns whose values are others now, so that no index is touched without need. */
function changed(caller, stored, config) {
  const at = now();
  const columns = { ...columnsOf(config, stored.id), version: stored.version + 1, updated_at: at };
  const names = Object.keys(columns).filter((name) => columns[name] !== stored[name]);
  prepared(`UPDATE email_inbox SET ${names.map((name) => `${name} = @${name}`)} WHERE id = @id`).run({
    ...columns,
    id: stored.id,
  });
  const row = { ...stored, ...columns };
  const { department } = row;
  addChange.run({ id: row.id, kind: 'UPDATED', department, previous: stored.department, at, by: caller.id });
  return inboxOf(row);
}

/** A stored password goes to no other server than the one it was given for. */
function requirePasswords(config, stored) {
  for (const protocol of ['smtp', 'imap']) {
    const given = config[protocol];
    const moves = !stored || ['server', 'port', 'username'].some((name) => given[name] !== stored[`${protocol}_${name}`]);
    const secure = Boolean(stored?.[`${protocol}_secure`]);
    if (given.password == null && (moves || given.secure !== secure)) {
      throw Refused.because('PASSWORD_REQUIRED', 'is required', 'input', protocol, 'password');
    }
  }
}

/** The stored inbox as it would be set again, with the fields of the patch over it. */
function merged({ version, createdAt, updatedAt, ...stored }, patch) {
  const over = ({ hasPassword, ...server }, changes) => ({ ...server, ...changes });
  return { ...stored, ...patch, smtp: over(stored.smtp, patch.smtp), imap: over(stored.imap, patch.imap) };
}

function columnsOf(config, id) {
  return {
    name: config.name,
    name_key: folded(config.name),
    email: config.email,
    email_key: folded(config.email),
    active: Number(config.active),
    description: config.description ?? null,
    sender_info: config.senderInfo ?? null,
    department: config.department || null,
    ...serverColumns('smtp', config.smtp, id),
    ...serverColumns('imap', config.imap, id),
    imap_max_retries: config.imap.maxRetries,
  };
}

function serverColumns(protocol, { server, port, username, password, secure }, id) {
  const columns = {
    [`${protocol}_server`]: server,
    [`${protocol}_port`]: port,
    [`${protocol}_username`]: username,
    [`${protocol}_secure`]: Number(secure),
  };
  const name = `${protocol}_password`;
  return password == null ? columns : { ...columns, [name]: encrypted(password, id, name) };
}

/** The inbox as it may be shown: without its passwords. */
function inboxOf(row) {
  return {
    id: row.id,
    name: row.name,
    email: row.email,
    active: Boolean(row.active),
    description: row.description,
    senderInfo: row.sender_info,
    department: row.department,
    smtp: {
      server: row.smtp_server,
      port: row.smtp_port,
      username: row.smtp_username,
      secure: Boolean(row.smtp_secure),
      hasPassword: Boolean(row.smtp_has_password),
    },
    imap: {
      server: row.imap_server,
      port: row.imap_port,
      username: row.imap_username,
      secure: Boolean(row.imap_secure),
      hasPassword: Boolean(row.imap_has_password),
      maxRetries: row.imap_max_retries,
    },
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

function cursorOf(row) {
  return Buffer.from(JSON.stringify(['NAME', row.name_key, row.id])).toString('base64url');
}

function positionOf(cursor) {
  const [, name, id] = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  return [name, id];
}
