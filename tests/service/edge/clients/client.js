// What @grpc/grpc-js sees of a server: `node client.js PORT`; prints a line for each thing that went as it should.
const grpc = require('@grpc/grpc-js');

const same = (buffer) => buffer;
const method = (name, requestStream, responseStream) => ({
  path: `/t.S/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const Client = grpc.makeGenericClientConstructor({
  Echo: method('Echo', false, false), Slow: method('Slow', false, false), Wait: method('Wait', false, false),
  Fail: method('Fail', false, false), Count: method('Count', false, true), Chat: method('Chat', true, true),
}, 't.S');
const client = new Client(`127.0.0.1:${process.argv[2]}`, grpc.credentials.createInsecure());

// A BytesValue of protobuf: field 1, its length, its bytes.
const message = (bytes) => {
  const size = [];
  for (let n = bytes.length; ; n >>>= 7) { if (n < 128) { size.push(n); break; } size.push((n & 127) | 128); }
  return Buffer.concat([Buffer.from([10, ...size]), bytes]);
};
const unary = (name, bytes, options = {}) => new Promise((resolve, reject) =>
  client[name](message(bytes), options, (error, answer) => (error ? reject(error) : resolve(answer))));
const fails = async (promise, code) => {
  try { await promise; } catch (error) { if (error.code === code) return error; throw error; }
  throw new Error('it did not fail');
};
const check = (condition) => { if (!condition) throw new Error('not as it should be'); };

(async () => {
  check((await unary('Echo', Buffer.from('hello'))).equals(message(Buffer.from('hello'))));
  console.log('unary');
  const large = Buffer.alloc(3_000_000, 7);
  check((await unary('Slow', large)).equals(message(large)));
  console.log('large');
  const error = await fails(unary('Fail', Buffer.from('Grüße')), grpc.status.INVALID_ARGUMENT);
  check(error.details === 'Grüße' && error.metadata.get('grpc-status-details-bin').length === 1);
  console.log('error');
  await fails(unary('Wait', Buffer.from('x'), { deadline: Date.now() + 300 }), grpc.status.DEADLINE_EXCEEDED);
  console.log('deadline');
  await fails(new Promise((resolve, reject) => {
    const call = client.Wait(message(Buffer.from('x')), (e, a) => (e ? reject(e) : resolve(a)));
    setTimeout(() => call.cancel(), 200);
  }), grpc.status.CANCELLED);
  console.log('cancel');
  let count = 0;
  for await (const answer of client.Count(message(Buffer.from('LLLLLLLLLL')))) { check(answer.length > 65_000); count++; }
  check(count === 10);
  const chat = client.Chat(), got = [];
  const all = (async () => { for await (const answer of chat) got.push(answer); })();
  for (const text of ['a', 'b', 'c']) chat.write(message(Buffer.from(text)));
  chat.end();
  await all;
  check(got.length === 3);
  console.log('streams');
  client.close();
})().catch((error) => { console.error(error); process.exit(1); });
