"""Whether a service does its work: systemd, protocols, processes, plugins. See `run.Checker`.

**A check asks, once, and says yes or why not.** The answer is None, or one plain sentence that
names the place and what was missed: "imap on 127.0.0.1:143: connected, but no greeting within
5 s". How often it is asked, and how often it has to fail before anything is done, is `services`'
business; what is done then is the decision core's.

**A server may be broken in any way, or hostile.** Every check has one time limit for all of it, so
a server that drips a byte a second fails at the end of that limit; what is read is bounded
(`lines.Conversation`): a banner without end fails when it is longer than any banner. What a server
said is quoted shortened and without control characters.

**No name is looked up.** Targets are addresses: that DNS is down is no reason to fail over a web
server. The name that is asked for (HTTP's Host, a certificate's name) stands beside the address.

**Programs** run without a shell in a process group of their own that is killed whole at the time
limit (`process.run`).
"""
