// The packages `ioredis` and `redis`, as clients that know of clusters.

import { once } from 'node:events'

import { Cluster } from 'ioredis'
import { createCluster } from 'redis'

import { main } from './say.mjs'

const keys = (prefix) => Array.from({ length: 20 }, (_, number) => `${prefix}:${number}`)

async function ioredis({ host, port }) {
  const [client, listener] = [new Cluster([{ host, port }]), new Cluster([{ host, port }])]
  await Promise.all(keys('io').map((key, number) => client.set(key, number)))
  const found = await Promise.all(keys('io').map((key) => client.get(key)))
  const executed = await client.multi().incr('io:n').incr('io:n').exec()
  await listener.subscribe('io')
  const told = once(listener, 'message')
  await client.publish('io', 'hello')
  const heard = (await told)[1]
  const nodes = client.nodes('master').length
  await Promise.all([client.quit(), listener.quit()])
  return { nodes, found: found.map(Number), executed: executed.map(([, value]) => value), heard }
}

async function redis({ host, port }) {
  const client = createCluster({ rootNodes: [{ url: `redis://${host}:${port}` }] })
  await client.connect()
  await Promise.all(keys('nr').map((key, number) => client.set(key, number)))
  const found = await Promise.all(keys('nr').map((key) => client.get(key)))
  const executed = await client.multi().incr('nr:n').incr('nr:n').exec()
  const told = new Promise((resolve) => client.sSubscribe('nr', resolve).then(() => client.sPublish('nr', 'hello')))
  const heard = await told
  const nodes = client.masters.length
  await client.close()
  return { nodes, found: found.map(Number), executed, heard }
}

await main({ ioredis, redis })
