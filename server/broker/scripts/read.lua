-- What an agent has handled after a position, a page of it. One script: a batch recorded between two commands would be
-- lost.
-- KEYS[1]  the agent's sorted set
-- ARGV     position or '' (none: the present), slack ms, retention ms, floor of the reset that the reader had (-1: none),
--          the most events of a page
-- returns  {seq, floor, reset 0/1, now, the page's end or nil where nothing follows it, {member, score, ...} ascending}
--
-- A page never splits one score: a reader that went on from its end would miss the rest. So one has more events than a
-- page should where a batch has.
local key, retention = KEYS[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(n) return string.format('%.0f', n) end

local top = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
local seq, floor = tonumber(top[2] or '-1'), nil
if seq < 0 then -- made by its first join, so that a store that lost everything can be told from a new agent
  seq, floor = now, now
  redis.call('ZADD', key, text(now), '-')
else
  floor = tonumber(redis.call('ZSCORE', key, '-') or now)
end
if redis.call('PTTL', key) < retention then redis.call('PEXPIRE', key, text(retention + 86400000)) end
if ARGV[1] == '' then return {text(seq), text(floor), 0, text(now), false, {}} end

local position, reset, from = tonumber(ARGV[1]), 0, '-inf'
if position > seq then -- ahead of us: the store lost its tail; the agent's other devices are told too
  reset = 1
  if position <= math.max(now, seq) + tonumber(ARGV[2]) then -- further ahead it is no position of ours: not adopted
    seq, floor = position, position
    redis.call('ZADD', key, text(position), '-')
  end
elseif position < floor and tonumber(ARGV[4]) < floor then -- one that had its reset goes on from where it was
  reset = 1
else
  from = '(' .. text(position)
end

local function events(first, last, ...) -- without the floor
  local found = redis.call('ZRANGEBYSCORE', key, first, last, 'WITHSCORES', ...)
  for i = 1, #found, 2 do
    if found[i] == '-' then
      table.remove(found, i + 1)
      table.remove(found, i)
      break
    end
  end
  return found
end

local page, page_end = tonumber(ARGV[5]), false
local entries = events(from, '+inf', 'LIMIT', 0, page + 2)
if #entries > 2 * page then
  local split, last = entries[2 * page + 2], 2 * page
  while last > 0 and entries[last] == split do last = last - 2 end
  if last == 0 then
    entries = events(split, split)
    last = #entries
  end
  for i = #entries, last + 1, -1 do entries[i] = nil end
  if tonumber(entries[last]) < seq then page_end = text(tonumber(entries[last])) end
end
return {text(seq), text(floor), reset, text(now), page_end, entries}
