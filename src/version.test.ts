import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VERSION } from './version.ts';

test('the version is three numbers', () => assert.match(VERSION, /^\d+\.\d+\.\d+$/));
