// The package `ioredis`.

import { once } from 'node:events'

import { Redis } from 'ioredis'

import { main } from './say.mjs'

function connected(words, more = {}) {
  const { host, port, user, password, options } = words
  const login = password ? { username: user, password } : {}
  const client = new Redis({ host, port, ...login, retryStrategy: null, ...options, ...more })
  client.on('error', () => {}) // the command that failed says it too
  return client
}

async function transactions(client, other, key) {
  await client.watch(key)
  await other.set(key, 7)
  const aborted = (await client.multi().incr(key).exec()) === null
  await other.del(key)
  await client.watch(key)
  const executed = await client.multi().incr(key).incr(key).exec()
  return { aborted, executed: executed.map(([, value]) => value) }
}

async function heard(client, other, channel) {
  await client.subscribe(channel)
  const told = once(client, 'message')
  await other.publish(channel, 'a word to all')
  const [, message] = await told
  await client.unsubscribe(channel)
  return message
}

async function databases(client, key) {
  const found = []
  for (const number of [0, 1]) {
    await client.select(number)
    await client.set(key, ['zero', 'one'][number])
  }
  for (const number of [0, 1, 0]) {
    await client.select(number)
    found.push(await client.get(key))
  }
  return found
}

async function scanned(client, prefix) {
  await client.mset(Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`${prefix}:scan:${n}`, n])))
  const found = new Set()
  for await (const keys of client.scanStream({ match: `${prefix}:scan:*`, count: 10 })) keys.forEach((key) => found.add(key))
  return found.size
}

await main({
  exercise: async (words) => {
    const { prefix } = words
    const [client, other] = [connected(words), connected(words)]
    await client.set(`${prefix}:text`, words.text)
    const pipe = client.pipeline()
    for (let n = 0; n < 100; n++) pipe.incr(`${prefix}:n`)
    const numbers = await pipe.exec()
    const waiting = client.blpop(`${prefix}:queue`, 5)
    await other.rpush(`${prefix}:queue`, 'job')
    const popped = (await waiting)[1]
    await client.set(`${prefix}:large`, Buffer.alloc(words.large, 'x'))
    const binary = Buffer.from(Array.from({ length: 1024 }, (_, n) => n % 256))
    await client.set(`${prefix}:binary`, binary)
    return {
      text: await client.get(`${prefix}:text`),
      pipeline: numbers.reduce((sum, [, value]) => sum + value, 0),
      ...(await transactions(client, other, `${prefix}:watched`)),
      popped,
      heard: await heard(client, other, `${prefix}:news`),
      script: await client.eval(words.script, 1, `${prefix}:script`, 6),
      databases: await databases(client, `${prefix}:db`),
      scanned: await scanned(client, prefix),
      large: (await client.getBuffer(`${prefix}:large`)).equals(Buffer.alloc(words.large, 'x')) ? words.large : 0,
      binary: (await client.getBuffer(`${prefix}:binary`)).equals(binary),
    }
  },

  login: async (words) => {
    const client = connected(words, { lazyConnect: true, enableReadyCheck: false })
    let complaint // what the server said; the command only knows that the connection has ended
    client.on('error', (error) => { complaint ??= error })
    try {
      await client.connect()
      return await client.ping()
    } catch (error) {
      return String((complaint ?? error).message)
    }
  },
})
