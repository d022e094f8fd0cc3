#!/usr/bin/perl

# The command line and services: init, apply and register with good and bad
# files, ps, describe, explain, start, stop, restart, pause, resume, scale,
# delete.  Data goes to standard output, progress and errors to standard error.

###############################################################################

use warnings;
use strict;

use JSON::PP;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();
my $dir = $d->dir();

$t->plan(122 + 3);
$s->start(1);

my ($code, $out, $err);
my $agent = encode_json($d->agent());

# runs it, and compares the exit code

sub corral {
    my ($want, @args) = @_;

    ($code, $out, $err) = $d->ctl(@args);
    is($code, $want, "corral @args") or diag($out, $err);
}

sub file {
    my ($name, $text) = @_;

    open my $fh, '>', "$dir/$name" or die "$dir/$name: $!";
    print $fh $text;
    close $fh;

    return "$dir/$name";
}

sub names { join ' ', sort map { $_->{name} }
    @{ $d->api('GET', "/$_[0]?limit=100")->{items} } }

sub revision { $d->api('GET', '/info')->{store}{revision} }

###############################################################################

# init: what it writes is a working agent

$d->ctl_shell("cd $dir && corral init mine 2> $dir/said");
like(slurp("$dir/said"), qr{made mine/agent.py and mine/service.yaml\n.*apply}s,
    'init says what it made and what comes next');
corral(0, 'apply', '-f', "$dir/mine/service.yaml", '--wait', 40);
is("$out|$err", "|mine: created\nmine: running\n", 'only progress');
corral(0, 'call', 'mine', 'hi');
is($out, "you said: hi\n", 'and it answers through the gateway');
corral(0, 'delete', 'mine', '--yes');

is($d->ctl_shell("cd $dir && corral init mine 2>&1; echo \$?"),
    "corral: the directory mine cannot be made: File exists\n4\n",
    'init overwrites nothing');
is($d->ctl_shell("cd $dir && corral init ../x 2>&1; echo \$?"),
    "corral: \"../x\" is not a name for a service: up to 63 letters, digits, "
    . "\".\", \"_\" and \"-\"\n2\n", 'nor leaves the directory');
is($d->ctl_shell("cd $dir && corral init y --template cobol 2>&1; echo \$?"),
    "corral: there is no template \"cobol\": python or node\n2\n",
    'a template that there is not');
ok(!-e "$dir/y", 'and nothing is made');

# several documents of all forms; services before the rules that name them

my $all = file('all.yaml', <<"EOY");
kind: rule
name: first
target_services: [one, two]
weights: {one: 3}
fallback_service: three
---
name: one
command: $agent
labels: {group: a}
---
---
kind: service
name: two
command: $agent
labels: {group: a}
mirror: one
---
services:
  - {name: three, command: $agent}
rules:
  - {name: second, priority: 7, target_services: [three]}
EOY

corral(0, 'apply', '-f', $all, '--dry-run');
is("$out|$err", '|' . join('', map { "$_: valid\n" }
    qw/one two three first second/), 'a dry run of what names each other');
is(names('services') . '|' . names('routes'), '|', 'makes nothing');

corral(0, 'register', '-f', $all);
is("$out|$err", '|' . join('', map { "$_: created\n" }
    qw/one two three first second/), 'register');
is(names('services') . '|' . names('routes'), 'one three two|first second',
    'all are there');
is($d->api('GET', '/routes/first')->{weights}{one}, 3, 'with what it says');
is($d->api('GET', '/services/two')->{mirror}, 'one', 'and a mirror');

# a mirror is to stand above the service that names it

my $late = file('late.yaml', <<"EOY");
services:
  - {name: early, command: $agent, mirror: late}
  - {name: late, command: $agent}
EOY

corral(2, 'apply', '-f', $late, '--dry-run');
like($err, qr/^corral: early: .*"late": there is no such service/m,
    'a mirror below');

# JSON, from standard input

my $json = file('four.json', encode_json({ name => 'four',
    command => $d->agent(), description => 'no: "1"' }));

is($d->ctl_shell("corral apply -f - -o json 2> $dir/said < $json | "
    . 'python3 -c "import json, sys; print(json.load(sys.stdin)[\'name\'])"'),
    "four\n", 'JSON from standard input, JSON to standard output');
is(slurp("$dir/said"), '', 'and nothing else');
is($d->api('GET', '/services/four')->{description}, 'no: "1"', 'unchanged');

# files with a mistake: it is named, and nothing of the file is done

for (
    [ "name: n1\n---\nname: n2\nreplicas: many\n",
        qr{n2: .*replicas.*integer}s, 'a field' ],
    [ "name: n1\n---\nname: n2\nreplica: 2\n", qr/n2: .*replica\b/s,
        'an unknown field' ],
    [ "name: n1\nport: 70000\n---\nname: n2\nlisten: ip\n",
        qr/n1: .*port.*n2: .*listen/s, 'two of them' ],
    [ "name: n1\n---\nkind: rule\nname: r\ntarget_services: [n1, nobody]\n",
        qr/r: .*nobody.*no such service/s, 'a rule for nobody' ],
    [ "name: n1\n---\nkind: cron\nname: n2\n", qr/n2: .*kind/s, 'a kind' ],
    [ "name: n1\nname: n2\n", qr/line 2: the key stands twice/, 'a key' ],
    [ "name: n1\ntags: [a\n", qr/line \d+: /, 'no YAML' ],
    [ "name: &n n1\n---\nname: *n\n", qr/line 3: aliases are not/, 'an alias' ],
    [ "name: n1\nreplicas: 1e999\n", qr/line 2: a number is too large/,
        'a number' ],
    [ "name: n1\n---\n- name: n2\n", qr/document 2 is no mapping/, 'a list' ],
    [ "services: [{name: n1}]\nrule: []\n", qr/document 1 has "rule"/,
        'a word beside the lists' ],
    [ "services: {name: n1}\n", qr/"services" in document 1 is no list/,
        'no list' ],
    [ "services: [{name: n1}, n2]\n", qr/number 2 of "services".*no mapping/,
        'a word in a list' ],
    [ "services: [{name: n1}, {replicas: 2}]\n", qr/service 2 has no name/,
        'no name' ],
    [ "name: n1\n---\nname: a b\n", qr/a b: .*name/s, 'a name' ],
    [ '{"name": "n1"', qr/line \d+: /, 'no JSON' ],
    [ "---\n", qr/there is no service and no rule in it/, 'nothing' ],
) {
    my ($text, $re, $what) = @$_;
    my $before = revision();

    ($code, $out, $err) = $d->ctl('apply', '-f', file('bad.yaml', $text));
    is("$code|$out", '2|', "refused: $what");
    like($err, $re, 'says what');
    is(revision(), $before, 'changes nothing');
}

corral(2, 'apply', '-f', "$dir/nowhere.yaml");
is($err, "corral: $dir/nowhere.yaml cannot be opened\n", 'its name');
corral(2, 'apply');
is($err, "corral: usage: corral apply -f FILE\n", 'without a file');

# start, ps, describe, explain

corral(0, 'start', 'one', 'two', '--wait', 30);
is($err, "one: starting\ntwo: starting\none: running\ntwo: running\n",
    'start and wait');
corral(0, 'ps');
like($out, qr/^SERVICE +STATUS +READY.*\n(?:.*\n)*one +running +1 +1 /, 'ps');
corral(0, 'ps', '-o', 'name', '-l', 'group=a');
is(join(' ', sort split ' ', $out), 'one two', 'by label, by name');
corral(0, 'ps', '-o', 'json');
is(scalar @{ decode_json($out)->{items} }, 4, 'JSON');

my ($one) = $d->instances('one');

corral(0, 'ps', 'one');
like($out, qr/^INSTANCE +STATE .*\n\Q$one->{instance_id}\E +running /,
    'instances of one');
corral(0, 'ps', '--all', '-o', 'name');
is(scalar split(' ', $out), 2, 'instances of all');
corral(0, 'describe', 'one');
like($out, qr/^name +one\n.*^INSTANCE.*^\Q$one->{instance_id}\E /ms,
    'describe a service');
corral(0, 'describe', $one->{instance_id}, '-o', 'json');
is(decode_json($out)->{pid}, $one->{pid}, 'describe an instance');
corral(0, 'explain', 'one');
like($out, qr/one.*running/s, 'explain');
corral(0, 'explain', 'one', '-o', 'json');
ok(@{ decode_json($out)->{lines} }, 'its lines');

# scale, pause, resume, restart, stop, delete

corral(0, 'scale', 'one', 2, '--wait', 30);
is($d->api('GET', '/services/one')->{ready}, 2, 'scaled');
corral(2, 'scale', 'one', 'many');
is($err, "corral: \"many\" is not a number of replicas\n", 'no number');
corral(2, 'scale', 'one', 1000000);
like($err, qr/replicas/, 'too many');
corral(0, 'pause', 'one');
is("$out|$err", "|one: paused\n", 'pause');
is(join(' ', map { $_->{pid} } grep { $_->{instance_id}
    eq $one->{instance_id} } $d->instances('one')), $one->{pid},
    'the process lives');
is($d->api('GET', '/services/one')->{desired}, 'paused', 'is what is wanted');
corral(0, 'resume', '--all', '-q');
is("$err|" . $d->api('GET', '/services/one')->{desired}, '|running',
    'resume, quietly');
corral(0, 'restart', 'one', '--wait', 30);
ok(!(grep { $_->{instance_id} eq $one->{instance_id}
    && $_->{pid} == $one->{pid} && $_->{state} eq 'running' }
    $d->instances('one')), 'other processes');
corral(1, 'stop', '--all');
is($err, "corral: \"stop all services\" needs --yes when nobody can be "
    . "asked\n", 'asks');
is($d->api('GET', '/services/one')->{desired}, 'running', 'nothing happens');
corral(0, 'stop', '-l', 'group=a', '--yes', '--wait', 30);
is(join(' ', map { $d->api('GET', "/services/$_")->{status} } qw/one two/),
    'stopped stopped', 'stopped by label');
corral(2, 'stop', 'one', '--all');
corral(1, 'delete', 'four');
corral(0, 'delete', '--yes', 'four');
corral(3, 'delete', '--yes', 'four');
is(names('services'), 'one three two', 'deleted');

$s->finish();

###############################################################################
