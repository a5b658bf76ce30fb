// Delivers through Fedify with its Postgres queue: an activity is given to sendActivity with all its recipients, and a message
// for each of them waits in the same Postgres, worked off by PEER_WORKERS at one time in as many processes as there are.
//
// It is given its best: the first form of signature is the one that the receiver takes, so that no request is made twice;
// the activity is written as JSON once, for all hosts. How it is ordered about stands in ../order.go.
import { createFederation, importJwk, ParallelMessageQueue } from "@fedify/fedify";
import { Create, Note, PUBLIC_COLLECTION } from "@fedify/fedify/vocab";
import { PostgresKvStore, PostgresMessageQueue } from "@fedify/postgres";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import postgres from "postgres";
import { Agent, buildConnector, setGlobalDispatcher } from "undici";

const env = (name) => {
  const value = process.env["PEER_" + name];
  if (!value) throw new Error(`PEER_${name} is not set`);
  return value;
};

const workers = Number(env("WORKERS"));
const keyId = new URL(env("KEY_ID"));

// Every connection goes to the receiver, with names and SNI unchanged.
const [hostname, port] = env("CONNECT_TO").split(":");
const connect = buildConnector({ ca: readFileSync(env("CA_FILE")), maxCachedSessions: 1000 });
setGlobalDispatcher(new Agent({
  connect: (options, callback) =>
    connect({ ...options, servername: options.servername || options.hostname, hostname, host: hostname, port }, callback),
}));

const pem = readFileSync(env("KEY_FILE"), "utf8");
const algorithm = { alg: "RS256", key_ops: undefined };
const privateKey = await importJwk({ ...createPrivateKey(pem).export({ format: "jwk" }), ...algorithm }, "private");
const publicKey = await importJwk({ ...createPublicKey(pem).export({ format: "jwk" }), ...algorithm }, "public");

const sql = postgres(env("DATABASE"), { max: workers + 10, onnotice: () => {} });
const federation = createFederation({
  kv: new PostgresKvStore(sql),
  queue: new ParallelMessageQueue(new PostgresMessageQueue(sql), workers),
  firstKnock: "draft-cavage-http-signatures-12",
  allowPrivateAddress: true,
  manuallyStartQueue: true,
});
federation
  .setActorDispatcher("/u/{identifier}", async () => null)
  .setKeyPairsDispatcher(async () => [{ privateKey, publicKey }]);
federation.setInboxListeners("/u/{identifier}/inbox", "/inbox");

const context = federation.createContext(new URL(keyId.origin), undefined);
federation.startQueue(undefined);

let number = 0;
const sendOne = (order) => {
  const id = new URL(`/fedify/${process.pid}/${++number}`, keyId);
  const actor = new URL("/u/0", keyId);
  const note = new Note({ id: new URL(id + "/note"), attribution: actor, content: "x".repeat(10) }); // 1.4 kB when Fedify has added its own
  const recipients = Array.from({ length: order.hosts }, (_, n) => {
    const host = `${order.scheme}://i-${String(n).padStart(5, "0")}.example`;
    return { id: new URL(host + "/u/1"), inboxId: new URL(host + "/inbox") };
  });
  return context.sendActivity(
    [{ keyId, privateKey }],
    recipients,
    new Create({ id, actor, object: note, to: PUBLIC_COLLECTION }),
  );
};

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  for (let n = 0; n < order.activities; n++) await sendOne(order);
}
process.exit(0);
