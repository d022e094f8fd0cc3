#!/usr/bin/perl

# corral routes: what its commands say and do, their exit codes, and rules in
# the files of corral apply.

use warnings;
use strict;

use JSON::PP;
use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Corral::Rest;

my $d = Test::Corral::Rest->new()->start();
my $root = "$FindBin::Bin/..";
my $build = $ENV{CORRAL_BUILD} // "$root/build/" . ($ENV{KIND} // 'release');
my $dir = $d->dir();

$ENV{CORRAL_API} = "http://127.0.0.1:$d->{port}";
$ENV{CORRAL_TOKEN} = $d->{token};

my ($out, $err, $code);

sub corral {
    my (@args) = @_;

    my $pid = fork // die "fork: $!\n";

    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$dir/out";
        open STDERR, '>', "$dir/err";
        exec "$build/corral", @args;
        die;
    }

    waitpid $pid, 0;
    $code = $? >> 8;
    ($out, $err) = map { Test::Corral::Shim::slurp("$dir/$_") } qw/out err/;

    return $code;
}

sub file {
    my ($name, $text) = @_;
    open my $fh, '>', "$dir/$name" or die;
    print $fh $text;
    close $fh;
    return "$dir/$name";
}

###############################################################################

# apply: services first, whatever their place in the file

my $file = file('all.yaml', <<'EOY');
rules:
  - name: gold
    priority: 10
    conditions:
      - {field: header.x-tier, operator: equals, value: gold}
    target_services: [large]
services:
  - {name: large, listen: tcp, tags: [big]}
  - {name: small, listen: tcp}
---
kind: rule
name: all others
priority: 100
target_services: [small]
EOY

is(corral('apply', '-f', $file), 0, 'applied');
like($err, qr/large: created\n.*gold: created\n.*all others: created/s,
    'services, then rules');
is(corral('apply', '-f', $file), 0, 'again');
like($err, qr/gold: updated/, 'is no error');

# list, show

is(corral('routes', 'list'), 0, 'list');
like($out, qr/^PRIORITY +RULE.*\n10 +gold .*large.*\n100 +all others/,
    'in their order');
is(corral('routes', 'list', '-o', 'name'), 0, 'names');
is($out, "gold\nall others\n", 'of rules');
is(corral('routes', 'show', 'gold', '-o', 'json'), 0, 'show');
is(decode_json($out)->{conditions}[0]{value}, 'gold', 'as JSON');
corral('routes', 'show', 'gold');
like($out, qr{^priority\W+10$}m, 'for people');
is(corral('routes', 'show', 'none'), 3, 'not found');

# add, set

my $rule = file('rule.yaml', "name: eu\nconditions:\n"
    . "  - {field: client_ip, operator: ip_in_range, value: 10.0.0.0/8}\n");
is(corral('routes', 'add', '-f', $rule), 0, 'add');
is(corral('routes', 'add', '-f', $rule), 4, 'twice');
is(corral('routes', 'set', 'eu', 'priority=5', 'target_tags=["big"]',
    'description=for Europe'), 0, 'set');
corral('routes', 'show', 'eu', '-o', 'json');
is(join('|', @{ decode_json($out) }{qw/priority description/}),
    '5|for Europe', 'members');
is(corral('routes', 'set', 'eu', 'priority=high'), 2, 'set: invalid');
like($err, qr/"priority" must be an integer/, 'its reason');

# enable, disable, reorder

is(corral('routes', 'disable', 'eu', 'gold'), 0, 'disable');
corral('routes', 'list', '-o', 'json');
is(join(' ', map { $_->{enabled} ? 1 : 0 } @{ decode_json($out)->{items} }),
    '0 0 1', 'two of them');
is(corral('routes', 'enable', 'eu', 'gold'), 0, 'enable');
is(corral('routes', 'reorder', 'gold', 'eu'), 0, 'reorder');
corral('routes', 'list', '-o', 'name');
is($out, "gold\neu\nall others\n", 'as asked');

# test

is(corral('routes', 'test', 'POST', 'http://x.test:80/a%20b?q=1&q=2',
    'X-Tier: silver', 'client_ip=10.1.2.3'), 0, 'test');
like($out, qr/^eu\n  large, 0 ready, weight 1\n/, 'rule and candidates');
like($out, qr/gold +condition +header.x-tier equals "gold": it is "silver"/,
    'why not the other one');
is(corral('routes', 'test', '/', 'X-Tier:gold', '-o', 'name'), 0, 'a path');
like($out, qr/^gold\n/, 'its rule');
corral('routes', 'test', '/', '-o', 'json');
is(decode_json($out)->{trace}[1]{failed}{actual}, undef, 'absent');
is(corral('routes', 'test', 'nonsense'), 2, 'not a URL');

# who it is, as the gateway would know it

my $who = file('who.yaml', "name: who\npriority: 1\nconditions:\n"
    . "  - {field: tenant, operator: equals, value: acme}\n"
    . "  - {field: claim.level, operator: greater_than, value: '9'}\n");
is(corral('routes', 'add', '-f', $who), 0, 'a rule for somebody');
corral('routes', 'test', '/', 'tenant=acme', 'claim.level=10', '-o', 'name');
like($out, qr/^who\n/, 'a claim is a number');
corral('routes', 'test', '/', 'tenant=acme', 'claim.level=9', '-o', 'name');
unlike($out, qr/^who\n/, 'that is too small');
corral('routes', 'test', '/', 'X-Claim: 10', 'tenant=acme');
like($out, qr/who +condition +claim.level greater_than "9": it is absent/,
    'or absent');
is(corral('routes', 'delete', '--yes', 'who'), 0, 'it goes again');

# delete, usage

is(corral('routes', 'delete', 'eu'), 1, 'delete wants --yes');
is(corral('routes', 'delete', '--yes', 'eu', 'gold'), 0, 'delete');
corral('routes', 'list', '-o', 'name');
is($out, "all others\n", 'one is left');
is(corral('routes', 'burn'), 2, 'no such command');
is(corral('routes'), 2, 'no command');
is(corral('help', 'routes', 'test'), 0, 'help');
like($out, qr/^corral routes test \[METHOD\] URL/, 'of two words');
is(corral('completion', 'bash'), 0, 'completion');
like($out, qr/ routes .*" list show add set delete enable disable reorder test"/s,
    'of both words');

$d->finish();
done_testing();
