// A list of all inboxes that stays as the server has it.
import type { Change, Inbox } from './client.js';
import type { InboxClient } from './inbox-client.js';

export class LiveList {
  /** By id. */
  readonly inboxes = new Map<string, Inbox>();
  #stop = () => {};

  /** `updated` is called after every change, `refused` where the list is live no longer. */
  constructor(
    readonly client: InboxClient,
    readonly updated: () => void,
    readonly refused: (reason: unknown) => void,
  ) {}

  /**
   * Asks for the cursor first, reads then, and follows what came after the cursor, so that what changes while it reads
   * is not missed.
   */
  async open(): Promise<void> {
    const cursor = await this.client.cursor();
    const read: Inbox[] = [];
    for await (const inbox of this.client.inboxes()) read.push(inbox);
    this.inboxes.clear();
    for (const inbox of read) this.inboxes.set(inbox.id, inbox);
    this.#stop = this.client.follow(
      cursor,
      (change) => this.#apply(change),
      (reason) => (reason.code === 'BAD_USER_INPUT' ? this.#reopen() : this.refused(reason)),
    );
    this.updated();
  }

  close(): void {
    this.#stop();
  }

  /** After a day without a connection, the changes since are not kept any more. */
  #reopen(): void {
    this.close();
    this.open().catch(this.refused);
  }

  #apply(change: Change): void {
    if (!change.emailInbox) {
      this.inboxes.delete(change.id);
      this.updated();
    } else if (change.emailInbox.version >= (this.inboxes.get(change.id)?.version ?? 0)) {
      this.inboxes.set(change.id, change.emailInbox);
      this.updated();
    }
  }
}
