// The REST path of all the peers of Node: an answer for a body. Knows no framework.
import { authenticated, setEmailInbox } from './inboxes.js';
import { Refused } from './inputs.js';

/**
 * Creates or replaces an inbox.
 *
 * @param {any} body
 * @returns {[number, object]} The status and the body of the answer.
 */
export function save(headers, body) {
  const caller = authenticated(headers);
  if (!caller) return [401, { success: false, error: 'Unauthenticated.' }];
  try {
    const { _id: id, ...input } = body;
    const [inbox] = setEmailInbox(caller, { ...input, id });
    return [200, { _id: inbox.id, success: true }];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return [400, { success: false, error: error.message }];
  }
}
