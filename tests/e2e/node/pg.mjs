// The package `pg`.

import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'

import pg from 'pg'

import { line, main, tlsOf } from './say.mjs'

async function connected(words, more = {}) {
  const { host, port, user, password, database, options } = words
  const client = new pg.Client({
    host, port, user, password: password ?? undefined, database, ssl: tlsOf(words), ...options, ...more,
  })
  await client.connect()
  return client
}

const value = async (client, text, values) => Object.values((await client.query(text, values)).rows[0])[0]

async function using(words, run, more) {
  const client = await connected(words, more)
  try {
    return await run(client)
  } finally {
    await client.end()
  }
}

const failure = (promise) => promise.then(() => '', (error) => error.code)

/** A COPY as pg's queue of queries takes it: it calls these as messages of the server come. */
class Copy {
  constructor(text, { from, to }) {
    Object.assign(this, { text, from, to })
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }))
  }

  submit(connection) {
    connection.query(this.text)
  }

  async handleCopyInResponse(connection) {
    for await (const chunk of this.from) {
      connection.sendCopyFromChunk(chunk)
      if (connection.stream.writableNeedDrain) await once(connection.stream, 'drain')
    }
    connection.endCopyFrom()
  }

  handleCopyData({ chunk }) {
    this.to.write(Buffer.from(chunk)) // it is part of a buffer that is used again
  }

  handleCommandComplete() {}

  handleReadyForQuery() {
    if (this.to) this.to.end(this.resolve)
    else this.resolve()
  }

  handleError(error) {
    this.reject(error)
  }

  static run(client, text, streams) {
    const copy = new Copy(text, streams)
    client.query(copy)
    return copy.done
  }
}

await main({
  query: (words) => using(words, async (client) => ({
    user: await value(client, 'SELECT current_user'),
    echo: await value(client, 'SELECT $1::text', [words.quoted]),
    error: await failure(client.query('SELECT 1 / 0')),
    after: await value(client, 'SELECT 42'),
  })),

  prepared: (words) => using(words, async (client) => {
    const found = []
    for (let n = 0; n < 5; n++) {
      found.push(await value(client, { name: 'doubled', text: 'SELECT $1::int * 2', values: [n] }))
    }
    return found
  }),

  copy: (words) => using(words, async (client) => {
    await client.query('CREATE TEMP TABLE copied (id int, line text)')
    await Copy.run(client, 'COPY copied FROM STDIN', { from: createReadStream(words.source) })
    await Copy.run(client, 'COPY copied TO STDOUT', { to: createWriteStream(words.target) })
    return null
  }),

  notify: (words) => using(words, (listener) => using(words, async (speaker) => {
    await listener.query(`LISTEN ${words.channel}`)
    const told = once(listener, 'notification')
    await speaker.query('SELECT pg_notify($1, $2)', [words.channel, words.payload])
    return (await told)[0].payload
  })),

  cancel: (words) => using(words, async (client) => {
    const query = new pg.Query(words.sleep)
    const ended = once(query, 'end').then(() => '', (error) => error.code)
    client.query(query)
    await line()
    const { host, port, user, database } = words
    new pg.Client({ host, port, user, database, ssl: tlsOf(words) }).cancel(client, query)
    const code = await ended
    if (await value(client, 'SELECT 42') !== 42) throw new Error('not usable after the cancel')
    return code
  }),

  large: (words) => using(words, async (client) => {
    const came = await value(client, "SELECT repeat('x', $1)", [words.size])
    return [came.length, await value(client, 'SELECT length($1::text)', [came])]
  }),

  pipeline: (words) => using(words, async (client) => {
    await client.query('CREATE TEMP TABLE counted (n int)')
    const text = 'INSERT INTO counted VALUES ($1)'
    await Promise.all(Array.from({ length: words.count }, (_, n) => client.query(text, [n])))
    return value(client, 'SELECT count(DISTINCT n) FROM counted')
  }, { pipeline: true }),
})
