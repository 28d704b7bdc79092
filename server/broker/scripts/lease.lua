-- Leases of an agent's sessions: each ends by itself, and no more are given than the agent may have.
-- KEYS[1]  the agent's leases: a sorted set, the score of a lease is the store's time (ms) at which it ends
-- ARGV     lease ms, limit (-1: renewed whatever there is, since those sessions live), lease...
-- returns  1, or 0 where the agent has as many as it may
local key, limit = KEYS[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(n) return string.format('%.0f', n) end

redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now))
if limit >= 0 and redis.call('ZCARD', key) >= limit then return 0 end

local args, ends = {}, text(now + tonumber(ARGV[1]))
for i = 3, #ARGV do
  args[#args + 1] = ends
  args[#args + 1] = ARGV[i]
end
redis.call('ZADD', key, unpack(args))
redis.call('PEXPIRE', key, ARGV[1])
return 1
