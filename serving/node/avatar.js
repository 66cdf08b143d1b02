// Renders an avatar from Node: reads its card, then nods with its reference landmarks, one JPEG a frame.
//
//   npm install && node avatar.js localhost:8500 eileen frames 25
//
// Works with TensorFlow Serving and the embedded server; only the .proto files beside this one are needed.
const fs = require('fs');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const FLOAT = 1, INT32 = 3;
const TIMEOUT = Number(process.env.TALKINGHEAD_TIMEOUT || 30); // seconds for a request, retries included

// Channel credentials from PEM files: TLS with TALKINGHEAD_TLS_CA, mutual TLS with TALKINGHEAD_TLS_KEY and
// TALKINGHEAD_TLS_CERT too; without any of them no TLS.
function credentials({ TALKINGHEAD_TLS_CA: ca, TALKINGHEAD_TLS_KEY: key, TALKINGHEAD_TLS_CERT: certificate }) {
  if (!ca && !key && !certificate) return grpc.credentials.createInsecure();
  if (!ca || !key !== !certificate) throw new Error('TLS: set TALKINGHEAD_TLS_CA, and _KEY and _CERT both or neither');
  const read = (file) => (file ? fs.readFileSync(file) : null);
  return grpc.credentials.createSsl(read(ca), read(key), read(certificate));
}

function connect(address) {
  const definition = loader.loadSync('prediction_service.proto', {
    keepCase: true, longs: Number, includeDirs: [__dirname],
  });
  const named = process.env.TALKINGHEAD_TLS_SERVER_NAME;
  const { PredictionService } = grpc.loadPackageDefinition(definition).tensorflow.serving;
  return new PredictionService(address, credentials(process.env), {
    'grpc.max_receive_message_length': 256 << 20,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
    ...(named && { 'grpc.ssl_target_name_override': named }),
  });
}

function tensor(dtype, shape, array) {
  const content = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return { dtype, tensor_shape: { dim: shape.map((size) => ({ size })) }, tensor_content: content };
}

// The values of a string tensor, as Buffers: listed, or packed into tensor_content (all lengths, then all bytes).
function strings({ string_val: listed, tensor_content: packed, tensor_shape: shape }) {
  if (!packed || !packed.length) return listed;
  const count = shape.dim.reduce((product, { size }) => product * size, 1);
  const lengths = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    let length = 0, byte, scale = 1;
    do {
      byte = packed[at++];
      length += (byte & 0x7f) * scale;
      scale *= 128;
    } while (byte & 0x80);
    lengths.push(length);
  }
  return lengths.map((length) => packed.subarray(at, (at += length)));
}

// A retry may succeed while a server starts or its queue is full, but not for a message over the size limit.
function worthRetrying(error) {
  const { UNAVAILABLE, RESOURCE_EXHAUSTED, CANCELLED } = grpc.status;
  return [UNAVAILABLE, RESOURCE_EXHAUSTED, CANCELLED].includes(error.code) && !/larger than max/.test(error.details);
}

function once(client, request, deadline) {
  return new Promise((resolve, reject) => {
    client.Predict(request, { deadline: new Date(deadline) }, (error, response) =>
      error ? reject(error) : resolve(response.outputs));
  });
}

async function predict(client, person, signature, inputs, outputs, seconds = TIMEOUT) {
  const request = { model_spec: { name: person, signature_name: signature }, inputs, output_filter: outputs };
  const deadline = Date.now() + 1000 * seconds;
  for (let attempt = 0; ; attempt++) {
    try {
      return await once(client, request, deadline);
    } catch (error) {
      const pause = Math.min(1000, 20 * 2 ** attempt) * (0.5 + Math.random() / 2);
      if (!worthRetrying(error) || Date.now() + pause > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

// The avatar's card, an object: who, how made, resolution, reference_landmarks.
async function card(client, person) {
  const outputs = await predict(client, person, 'describe', { query: tensor(INT32, [1], new Int32Array(1)) }, ['card']);
  return JSON.parse(strings(outputs.card)[0].toString());
}

// Renders frames, each of 68 [x, y] pairs in fractions of the crop; returns JPEGs, one Buffer a frame.
async function render(client, person, frames) {
  const values = Float32Array.from(frames.flat(2));
  const inputs = { landmarks: tensor(FLOAT, [frames.length, 68, 2], values) };
  const outputs = await predict(client, person, 'render_jpeg', inputs, ['jpeg_bytes']);
  return strings(outputs.jpeg_bytes);
}

async function main([address, person, folder, count]) {
  if (!folder) throw new Error('usage: node avatar.js HOST:PORT PERSON FOLDER [FRAMES]');
  const client = connect(address);
  const { reference_landmarks: rest } = await card(client, person);
  fs.mkdirSync(folder, { recursive: true });
  for (let frame = 0; frame < Number(count || 25); frame++) {
    const nod = 0.02 * Math.sin((2 * Math.PI * frame) / 25);
    const [jpeg] = await render(client, person, [rest.map(([x, y]) => [x, y + nod])]);
    fs.writeFileSync(path.join(folder, `${String(frame).padStart(4, '0')}.jpg`), jpeg);
  }
  client.close();
}

module.exports = { connect, card, render, strings };

if (require.main === module) {
  main(process.argv.slice(2)).catch((error) => {
    console.error(`error: ${error.details || error.message}`);
    process.exit(1);
  });
}
