// Makes calls on a published client, as an application would, and ends when
// all are delivered: node send.cjs CLIENT HOST WRITE_KEY <calls
// A line of calls is {"kind": "track", "args": {…}}.
'use strict';
const fs = require('fs');

const [name, host, writeKey] = process.argv.slice(2);
const calls = fs.readFileSync(0, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
for (const call of calls) {
  if (call.args.timestamp) call.args.timestamp = new Date(call.args.timestamp);
}

function fail(err) {
  console.error(err && err.stack || err);
  process.exit(1);
}

async function segment() {
  const { Analytics } = require('@segment/analytics-node');
  const client = new Analytics({ writeKey, host, path: '/v1/batch', maxEventsInBatch: 50, maxRetries: 10 });
  client.on('error', fail);
  for (const call of calls) client[call.kind](call.args);
  await client.closeAndFlush();
}

async function rudder() {
  const Client = require('@rudderstack/rudder-sdk-node');
  const client = new Client(writeKey, { dataPlaneUrl: host, flushAt: 50, errorHandler: fail });
  const delivered = calls.map((call) => new Promise((done, failed) => {
    client[call.kind](call.args, (err) => (err ? failed(err) : done()));
  }));
  do await client.flush(); while (client.queue.length > 0);
  await Promise.all(delivered);
}

({ segment, rudder })[name]().then(() => process.exit(0), fail);
