// Sends and consumes with the published ali-ons client: node client.js NAMESRV TOPIC COUNT
'use strict';
const { Producer, Consumer, Message } = require('ali-ons');
const [namesrv, topic, count] = process.argv.slice(2);
const quiet = { info() {}, warn() {}, error: console.error, debug() {} };
const httpclient = { request: async () => ({ status: 200, data: namesrv }) };

async function main() {
  const common = { httpclient, nameSrv: namesrv, accessKeyId: 'a', accessKeySecret: 's', logger: quiet };
  const consumer = new Consumer({ ...common, consumerGroup: 'node_group', isBroadcast: false });
  const got = [];
  const done = new Promise((resolve) => {
    consumer.subscribe(topic, '*', async (msg) => {
      got.push(msg.body.toString());
      if (got.length >= Number(count)) resolve();
    });
  });
  await consumer.ready();
  const producer = new Producer({ ...common, producerGroup: 'node_producer' });
  await producer.ready();
  const sent = [];
  for (let i = 0; i < Number(count); i++) {
    const result = await producer.send(new Message(topic, 'TagA', `node-${i}`));
    sent.push({ status: result.sendStatus, id: result.msgId });
  }
  await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 60000))]);
  console.log(JSON.stringify({ sent, got: got.sort() }));
  process.exit(0);
}
main().catch((error) => { console.error(error); process.exit(1); });
