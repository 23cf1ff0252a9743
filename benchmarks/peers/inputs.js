// What an inbox is set from, and every problem of an input at once. Knows no stored inbox.
import { z } from 'zod';

const CONTROL = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/;
const CONTROL_BUT_LINES = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/;
const HOST = /^(\[?[0-9a-f:.]+\]?|[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?)$/i;

const line = (length) =>
  z.string().max(length).refine((text) => !CONTROL.test(text), 'must not hold control characters');
const filled = (length) => line(length).refine((text) => text.trim() !== '', 'must not be blank');
const identifier = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -');
const text = z.string().max(2000).refine((value) => !CONTROL_BUT_LINES.test(value), 'must not hold control characters');

const smtp = z.strictObject({
  server: filled(253).regex(HOST, 'must be a host name or IP address'),
  port: z.int().min(1).max(65_535),
  username: filled(1000),
  password: line(1000).min(1).nullish(),
  secure: z.boolean(),
});
const imap = smtp.extend({ maxRetries: z.int().min(-1).default(10) });

const inbox = z.strictObject({
  id: identifier.nullish(),
  name: filled(200),
  email: z.email('must be an e-mail address').max(254),
  active: z.boolean(),
  description: text.nullish(),
  senderInfo: line(200).nullish(),
  department: line(200).nullish(),
  smtp,
  imap,
});

/** Why an input is refused, as `userErrors` show it. */
export class Refused extends Error {
  constructor(problems) {
    super(problems[0].message);
    this.problems = problems;
  }

  static because(code, message, ...field) {
    return new Refused([{ code, message: `${field.slice(1).join('.')} ${message}.`, field }]);
  }
}

/** The valid input. Throws Refused with every problem. */
export function validated(input) {
  const found = inbox.safeParse(input);
  if (found.success) return found.data;
  throw new Refused(found.error.issues.map(problem));
}

function problem({ code, message, path }) {
  return { code: code === 'too_big' ? 'TOO_LONG' : 'INVALID', message, field: ['input', ...path.map(String)] };
}
