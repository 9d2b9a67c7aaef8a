// The package `redis`, known as node-redis.

import { createClient, RESP_TYPES, WatchError } from 'redis'

import { main } from './say.mjs'

async function connected(words) {
  const { host, port, user, password, options } = words
  const login = password ? { username: user, password } : {}
  const client = createClient({ socket: { host, port, reconnectStrategy: false }, ...login, ...options })
  client.on('error', () => {}) // the command that failed says it too
  await client.connect()
  return client
}

async function transactions(client, other, key) {
  await client.watch(key)
  await other.set(key, '7')
  const aborted = await client.multi().incr(key).exec().then(() => false, (error) => error instanceof WatchError)
  await other.del(key)
  await client.watch(key)
  return { aborted, executed: await client.multi().incr(key).incr(key).exec() }
}

async function heard(client, other, channel) {
  const told = new Promise((resolve) => client.subscribe(channel, resolve).then(() => other.publish(channel, 'a word to all')))
  const message = await told
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
  await client.mSet(Array.from({ length: 50 }, (_, n) => [`${prefix}:scan:${n}`, String(n)]))
  const found = new Set()
  for await (const keys of client.scanIterator({ MATCH: `${prefix}:scan:*`, COUNT: 10 })) keys.forEach((key) => found.add(key))
  return found.size
}

await main({
  exercise: async (words) => {
    const { prefix } = words
    // One that has listened in RESP2 answers with buffers afterwards, so that it is another that listens.
    const [client, other, listener] = [await connected(words), await connected(words), await connected(words)]
    const raw = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
    await client.set(`${prefix}:text`, words.text)
    const numbers = await Promise.all(Array.from({ length: 100 }, () => client.incr(`${prefix}:n`)))
    const waiting = client.blPop(`${prefix}:queue`, 5)
    await other.rPush(`${prefix}:queue`, 'job')
    const popped = (await waiting).element
    await client.set(`${prefix}:large`, Buffer.alloc(words.large, 'x'))
    const binary = Buffer.from(Array.from({ length: 1024 }, (_, n) => n % 256))
    await client.set(`${prefix}:binary`, binary)
    return {
      text: await client.get(`${prefix}:text`),
      pipeline: numbers.reduce((sum, value) => sum + value, 0),
      ...(await transactions(client, other, `${prefix}:watched`)),
      popped,
      heard: await heard(listener, other, `${prefix}:news`),
      script: await client.eval(words.script, { keys: [`${prefix}:script`], arguments: ['6'] }),
      databases: await databases(client, `${prefix}:db`),
      scanned: await scanned(client, prefix),
      large: (await raw.get(`${prefix}:large`)).equals(Buffer.alloc(words.large, 'x')) ? words.large : 0,
      binary: (await raw.get(`${prefix}:binary`)).equals(binary),
    }
  },

  login: async (words) => {
    try {
      return await (await connected(words)).ping()
    } catch (error) {
      return String(error.message)
    }
  },
})
