"""ONNX: conversion of the computation of a trained model, its check against labkit, and its files."""
