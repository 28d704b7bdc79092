-- What an agent has handled after a position. One script: a batch recorded between two commands would be lost.
-- KEYS[1]  the agent's sorted set
-- ARGV     position or '' (none: the present), slack ms, retention ms, floor of the reset that the reader had (-1: none)
-- returns  {seq, floor, reset 0/1, now, member, score, member, score, ...} ascending
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
if ARGV[1] == '' then return {text(seq), text(floor), 0, text(now)} end

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

local answer = {text(seq), text(floor), reset, text(now)}
local entries = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES')
for i = 1, #entries, 2 do
  if entries[i] ~= '-' then
    answer[#answer + 1] = entries[i]
    answer[#answer + 1] = entries[i + 1]
  end
end
return answer
