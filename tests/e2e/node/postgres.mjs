// The package `postgres`.

import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'

import postgres from 'postgres'

import { line, main, tlsOf } from './say.mjs'

async function using(words, run) {
  const { host, port, user, password, database, options } = words
  const sql = postgres({
    host, port, user, password: password ?? undefined, database, ssl: tlsOf(words), max: 1, ...options,
  })
  try {
    return await run(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

const value = async (rows) => Object.values((await rows)[0])[0]
const failure = (promise) => promise.then(() => '', (error) => error.code)

await main({
  query: (words) => using(words, async (sql) => ({
    user: await value(sql`SELECT current_user`),
    echo: await value(sql`SELECT ${words.quoted}::text`),
    error: await failure(sql`SELECT 1 / 0`),
    after: await value(sql`SELECT 42`),
  })),

  prepared: (words) => using(words, async (sql) => {
    const found = []
    for (let n = 0; n < 5; n++) found.push(await value(sql`SELECT ${n}::int * 2`))
    return found
  }),

  copy: (words) => using(words, async (sql) => {
    await sql`CREATE TEMP TABLE copied (id int, line text)`
    await pipeline(createReadStream(words.source), await sql`COPY copied FROM STDIN`.writable())
    await pipeline(await sql`COPY copied TO STDOUT`.readable(), createWriteStream(words.target))
    return null
  }),

  notify: (words) => using(words, async (sql) => {
    const told = Promise.withResolvers?.() ?? resolvers()
    await sql.listen(words.channel, told.resolve)
    await sql.notify(words.channel, words.payload)
    return told.promise
  }),

  cancel: (words) => using(words, async (sql) => {
    const query = sql.unsafe(words.sleep)
    const ended = failure(query)
    await line()
    query.cancel()
    const code = await ended
    if (await value(sql`SELECT 42`) !== 42) throw new Error('not usable after the cancel')
    return code
  }),

  large: (words) => using(words, async (sql) => {
    const came = await value(sql`SELECT repeat('x', ${words.size})`)
    return [came.length, await value(sql`SELECT length(${came}::text)`)]
  }),

  pipeline: (words) => using(words, async (sql) => {
    await sql`CREATE TEMP TABLE counted (n int)`
    await Promise.all(Array.from({ length: words.count }, (_, n) => sql`INSERT INTO counted VALUES (${n})`))
    return Number(await value(sql`SELECT count(DISTINCT n) FROM counted`))
  }),
})

function resolvers() {
  const found = {}
  found.promise = new Promise((resolve, reject) => Object.assign(found, { resolve, reject }))
  return found
}
