insert or replace into milepost_rate (name, key, used_until) values (?, ?, ?)
