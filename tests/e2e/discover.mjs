// SPDX-License-Identifier: MIT
// usage: discover.mjs URL NAME N: what the services client of nats.js finds under that name, N of them, as one JSON object.
import { connect } from "@nats-io/transport-node";
import { Svcm } from "@nats-io/services";

const [url, name, n] = process.argv.slice(2);
const connection = await connect({ servers: url });
const seek = (maxMessages) => new Svcm(connection).client({ strategy: "count", maxMessages, maxWait: 10000 });
const client = seek(Number(n));

async function all(answers) {
  const found = [];
  for await (const answer of answers) found.push(answer);
  return found.sort((a, b) => (a.id < b.id ? -1 : 1));
}

const found = { ping: await all(await client.ping(name)), info: await all(await client.info(name)), stats: await all(await client.stats(name)) };
if (found.ping.length > 0) found.one = await all(await seek(1).info(name, found.ping[0].id));
console.log(JSON.stringify(found));
await connection.close();
