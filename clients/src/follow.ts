// Follows the inboxes through lost connections.
import { Refused, type Change, type Client } from './client.js';

const FIRST_WAIT = 200;
const LONGEST_WAIT = 30_000;

/**
 * Every change after this cursor; without one, every change from now on. None is missed and none comes twice, because
 * it comes back with the cursor of the last one. So let no library come back by itself: it would ask again from where
 * it once began. `refused` ends it; the code BAD_USER_INPUT says that the cursor is too old: read the inboxes anew.
 */
export function follow(
  client: Pick<Client, 'changes'>,
  after: string | null,
  change: (change: Change) => void,
  refused: (reason: Refused) => void,
): () => void {
  let [cursor, wait, stopped] = [after, FIRST_WAIT, false];
  let stop: () => void = () => {};

  const subscribe = () => {
    let over = false;
    stop = client.changes(cursor, {
      change(found) {
        if (stopped) return;
        [cursor, wait] = [found.cursor, FIRST_WAIT];
        change(found);
      },
      ended(reason) {
        if (over || stopped) return;
        over = true;
        if (reason instanceof Refused) return refused(reason);
        const timer = setTimeout(subscribe, wait * (0.5 + Math.random()));
        stop = () => clearTimeout(timer);
        wait = Math.min(wait * 2, LONGEST_WAIT);
      },
    });
  };
  subscribe();
  return () => {
    stopped = true;
    stop();
  };
}
