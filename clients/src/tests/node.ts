// What browsers have, and Node from 22 on.
import { WebSocket } from 'ws';

Object.assign(globalThis, { WebSocket: globalThis.WebSocket ?? WebSocket });
