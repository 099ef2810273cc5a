// The socket to the server: requests in JSON, answers in binary frames (src/localgrad/explorer/frames.py). It comes
// back by itself when the server does, and then asks anew for what was last asked.

const VIEWS = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };

export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = Math.ceil((4 + length) / 8) * 8;
  const arrays = {};
  for (const [name, { kind, shape, place }] of Object.entries(header.arrays)) {
    const count = shape.reduce((x, y) => x * y, 1);
    arrays[name] = Object.assign(new VIEWS[kind](buffer, start + place, count), { shape });
  }
  return { header, arrays };
}

export class Connection {
  constructor(onState) {
    this.onState = onState;
    this.handlers = {};
    this.last = {};
    this.answers = {};
    this.number = 0;
    this.wait = 250;
    this.open();
  }

  open() {
    const socket = new WebSocket(`ws://${location.host}/socket`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.wait = 250;
      this.onState(true);
      for (const message of Object.values(this.last)) socket.send(JSON.stringify(message));
    };
    socket.onmessage = ({ data }) => {
      const { header, arrays } = unpack(data);
      if (header.kind === null || this.last[header.kind]?.id !== header.id) return;
      this.answers[header.kind] = { header, arrays };
      this.handlers[header.kind]?.(header, arrays);
    };
    socket.onclose = () => {
      this.onState(false);
      setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(this.wait * 1.6, 4000);
    };
    this.socket = socket;
  }

  on(kind, handler) { this.handlers[kind] = handler; }

  // The newest request of a kind is the only one that counts; at most one a frame of the screen is sent.
  ask(kind, state, rest) {
    this.last[kind] = { kind, id: ++this.number, state: { ...state }, rest, };
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(this.last[kind]));
    return this.number;
  }
}
